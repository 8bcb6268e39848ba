//! Kernels on rows.

use ppl_tensor::kernels;

#[test]
fn rows_are_gathered_at_clamped_indices() {
    for cols in [1, 3, 16, 50, 300] {
        let src: Vec<f64> = (0..40 * cols).map(|i| i as f64).collect();
        let index: Vec<i64> = (0..23).map(|i| (i * 17) % 40).chain([-3, 40, i64::MAX, i64::MIN]).collect();
        let mut dst = vec![0.0; index.len() * cols];
        kernels::gather_rows(&mut dst, &src, &index, cols).expect("lengths fit");
        for (row, i) in dst.chunks(cols).zip(&index) {
            let i = (*i).clamp(0, 39) as usize;
            assert_eq!(row, &src[i * cols..(i + 1) * cols]);
        }
    }
    assert!(kernels::gather_rows(&mut [0.0f32; 2], &[], &[0, 0], 1).is_err());
    assert!(kernels::gather_rows(&mut [0.0f32; 2], &[1.0], &[0], 1).is_err());
    kernels::gather_rows::<f32>(&mut [], &[], &[], 3).expect("nothing of nothing");
}
