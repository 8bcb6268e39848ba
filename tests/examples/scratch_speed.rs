use ppl_driver::*;
use ppl_driver::check::*;
use ppl_driver::step::*;
use ppl_abi::Precision;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let src = Source::load(&Disk, std::path::Path::new(&a[1])).unwrap();
    let mut shapes = DataShapes::default();
    for s in ["J","T","N"] { shapes.sizes.insert(s.into(), 8); }
    let t0 = std::time::Instant::now();
    let mut o = FitOverrides::default();
    if let Some(ob) = a.get(2) { o.objective = Some(ppl_syntax::parse_expr(ppl_diag::FileId(99), ob).0); }
    let c = check_source(&src, Some(shapes), &o);
    for d in &c.diagnostics { println!("{d:?}"); }
    println!("check {:?}", t0.elapsed());
    let plan = c.program.fit.clone().unwrap();
    let mut cx = Cx { emit: a.get(3).cloned(), ..Cx::default() };
    let opt = Optimizer { kind: OptimizerKind::Sgd, rate: 1e-3, schedule: Schedule::default() };
    let code = match lower_fit(&c.program, &plan, &opt, 5000, &mut cx) { Ok(c) => c, Err(e) => { for d in e { println!("{d:?}"); } return; } };
    for e in &cx.emitted { println!("{e}"); }
    println!("{:?}", code.chosen);
    println!("lower {:?}", t0.elapsed());
    for (n, d) in &cx.timings { print!("{n}={d:?} "); } println!();
    for p in [Precision::F32, Precision::F64] {
        let t = std::time::Instant::now();
        let comp = ppl_codegen::compile(&code.step, &ppl_codegen::Options::new(p, ppl_tensor::address)).unwrap();
        println!("compile {:?} {:?} instrs {} bytes {}", t.elapsed(), comp.times(), comp.instructions(), comp.code_bytes());
        let mut r = ppl_codegen::Runner::new(std::sync::Arc::new(comp));
        let pairs: Vec<(usize, usize)> = (0..code.layout.state).map(|i| (i, i)).collect();
        r.set_state(&pairs).unwrap();
        for (i, role) in code.layout.roles.iter().enumerate() {
            let ty = code.step.ty(code.step.params[i]).clone();
            let v = match role { Role::Given(_) => 5.0, Role::Param(0) => 1.0, _ => 0.0 };
            if ty.dtype == ppl_core::DType::Float { r.set_floats(i, &vec![v; ty.numel()]).unwrap(); }
        }
        let mut rec = vec![0.0; 20000];
        r.run_steps(0, 0, code.layout.objective, &mut rec).unwrap();
        let t = std::time::Instant::now();
        let res = r.run_steps(0, 20000, code.layout.objective, &mut rec).unwrap();
        let e = t.elapsed();
        println!("{p:?}: {:.0} ns/step {:.0} steps/s; mean obj {} done {}", e.as_nanos() as f64 / 20000.0, 20000.0 / e.as_secs_f64(), rec.iter().sum::<f64>() / 20000.0, res.done);
    }
}
