use ppl_check::*;
#[test]
fn scratch() {
    let mut files = ppl_diag::SourceMap::default();
    let mut lib = vec![];
    for f in ppl_stdlib::PRELUDE {
        let id = files.add(f.name, f.text);
        let p = ppl_syntax::parse(id, f.text);
        for d in &p.diagnostics {
            println!("{} {:?} {:?}", d.title, d.span().and_then(|s| files.place(s)), d.labels);
        }
        lib.push(p.ast);
    }
    let path = std::env::var("P").unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let id = files.add("m.ppl", text.as_str());
    let p = ppl_syntax::parse(id, &text);
    for d in &p.diagnostics {
        println!("{d:?}");
    }
    let t = std::time::Instant::now();
    let c = elaborate(&lib, &p.ast, None, &Default::default());
    println!("time {:?}", t.elapsed());
    for d in &c.diagnostics {
        println!("{} {} {:?}", d.code, d.title, d.labels.iter().map(|l| (files.place(l.span), &l.text)).collect::<Vec<_>>());
    }
    for e in c.program.module.gens {
        println!("{e}");
    }
    println!("{:#?}", c.program.fit);
    for e in c.program.module.ests {
        println!("{e}");
    }
    for e in c.program.params {
        println!("{e:?}");
    }
}
