use ppl_check::*;
use ppl_core::*;
fn resolve(m: &Module, b: &mut Block<Est>) {
    for s in &mut b.stmts {
        if let Op::Random(EstRandom::Sample { dist, strategy, .. }) = &mut s.op {
            if *strategy == StrategyUse::Auto {
                *strategy = StrategyUse::Named {
                    strategy: m.dist(dist.dist).auto[0],
                    args: if m.strategy(m.dist(dist.dist).auto[0]).name == "reinforce" { vec![Atom::float(0.0)] } else { vec![] },
                    span: s.span,
                };
            }
        }
        for b in op_blocks_mut(&mut s.op) {
            resolve(m, b);
        }
    }
}
#[test]
fn scratch() {
    let mut files = ppl_diag::SourceMap::default();
    let mut lib = vec![];
    for f in ppl_stdlib::PRELUDE {
        let id = files.add(f.name, f.text);
        lib.push(ppl_syntax::parse(id, f.text).ast);
    }
    let path = std::env::var("P").unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let id = files.add("m.ppl", text.as_str());
    let p = ppl_syntax::parse(id, &text);
    let mut shapes = DataShapes::default();
    for s in ["J", "T"] {
        shapes.sizes.insert(s.into(), 8);
    }
    let c = elaborate(&lib, &p.ast, Some(shapes), &Default::default());
    for d in &c.diagnostics {
        println!("{} {} {:?}", d.code, d.title, d.labels.iter().map(|l| (files.place(l.span), &l.text)).collect::<Vec<_>>());
    }
    let m = &c.program.module;
    if let Err(e) = m.verify() {
        println!("VERIFY {e:?}");
    }
    let plan = c.program.fit.unwrap();
    let t = std::time::Instant::now();
    let mut f = ppl_transform::inline(m, m.est(plan.objective.func)).unwrap();
    println!("INLINE {f}");
    resolve(m, &mut f.body);
    let d = ppl_transform::strategies(m, &f, 0).unwrap();
    println!("STRAT {d}");
    if let Err(e) = ppl_core::verify(m, &d) {
        println!("VERIFY {e:?}");
    }
    let mut d = d;
    ppl_opt::inline_calls(&mut d, &m.dets);
    let mut d = ppl_transform::batch::batch(d);
    let mut pm = ppl_opt::PassManager::default();
    pm.run(&mut d, &m.dets, ppl_opt::When::BeforeVjp).unwrap();
    println!("BATCH {d}");
    let wrt: Vec<usize> =
        plan.objective.inputs.iter().enumerate().filter(|(_, g)| matches!(g, Global::Param(_))).map(|(i, _)| i).collect();
    let mut g = ppl_transform::vjp::vjp(&d, &wrt, 0).unwrap();
    pm.run(&mut g, &m.dets, ppl_opt::When::AfterVjp).unwrap();
    println!("VJP {g}");
    if let Err(e) = ppl_core::verify(m, &g) {
        println!("VERIFY {e:?}");
    }
    println!("time {:?}", t.elapsed());
}
