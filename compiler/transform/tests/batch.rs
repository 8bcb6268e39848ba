//! Batching: one run over arrays gives what running the lanes one by one gives.

mod common;

use common::generate::{Options, program};
use common::{Stream, Value, assert_close, run};
use ppl_core::{Block, Det, Func, Op, op_blocks};
use ppl_transform::batch::batch;

fn count(b: &Block<Det>, is: &dyn Fn(&Op<Det>) -> bool) -> usize {
    b.stmts.iter().map(|s| usize::from(is(&s.op)) + op_blocks(&s.op).into_iter().map(|b| count(b, is)).sum::<usize>()).sum()
}

fn maps(f: &Func<Det>) -> usize {
    count(&f.body, &|op| matches!(op, Op::Map { .. }))
}

fn agrees(f: &Func<Det>, args: &[Value]) -> Func<Det> {
    let g = batch(f.clone());
    assert_eq!(maps(&g), 0, "{}", f.name);
    assert_eq!(f.result_tys(), g.result_tys(), "{}", f.name);
    let (want, have) = (run(f, args), run(&g, args));
    for (i, (w, h)) in want.iter().zip(&have).enumerate() {
        assert_close(&format!("{} result {i}", f.name), w, h, 1e-9);
    }
    g
}

#[test]
fn random_programs() {
    let mut with_maps = 0;
    for seed in 0..1500 {
        let f = program(seed, Options { maps: true, depth: 3, size: 12, moving_draws: true });
        with_maps += usize::from(maps(&f) > 0);
        let mut s = Stream(seed, 1000);
        let args: Vec<Value> = f.params.iter().map(|v| s.value(&f.ty(*v).shape.clone(), -1.5, 1.5)).collect();
        agrees(&f, &args);
    }
    assert!(with_maps > 500, "{with_maps}");
}
