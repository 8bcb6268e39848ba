use ppl_check::*;
#[test]
fn all() {
    let mut lib = vec![];
    let mut files = ppl_diag::SourceMap::default();
    for f in ppl_stdlib::PRELUDE {
        let id = files.add(f.name, f.text);
        lib.push(ppl_syntax::parse(id, f.text).ast);
    }
    for entry in std::env::var("D").unwrap().split(':') {
        let text = std::fs::read_to_string(entry).unwrap();
        let id = files.add(entry, text.as_str());
        let p = ppl_syntax::parse(id, &text);
        println!("==== {entry}");
        let c = elaborate(&lib, &p.ast, None, &Default::default());
        for d in p.diagnostics.iter().chain(&c.diagnostics) {
            println!(
                "{} {} {:?} help {:?}",
                d.code,
                d.title,
                d.labels.iter().map(|l| (files.place(l.span), &l.text)).collect::<Vec<_>>(),
                d.help
            );
        }
        if let Err(e) = c.program.module.verify() {
            if c.diagnostics.is_empty() {
                println!("VERIFY {e:?}");
            }
        }
    }
}
