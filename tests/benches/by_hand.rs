//! The same steps written by hand in Rust, over the same kernels: what the compiler's abstractions cost.
//!
//! `cargo bench --bench by_hand` prints one line of JSON: microseconds of a gradient of a variational autoencoder (`vae.ppl`, batch 512) and of a step on
//! the cone (`examples/cone`, ELBO of 64 particles), in single precision on one thread. Elementwise loops are compiled for AVX-512 where the machine
//! has it.

use ppl_abi::{Kernel, Key};
use ppl_tensor::kernels::{self, Gemm};
use ppl_tests::timing::median;

const LATENT: usize = 10;
const HIDDEN: usize = 200;
const PIXELS: usize = 784;

/// Defines `fn name(args)` twice, for the baseline and for AVX-512, and calls the better one.
macro_rules! fast {
    (fn $name:ident($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,fma")]
                fn wide($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: the machine has what the function is compiled for.
                    return unsafe { wide($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}

fast! {
    fn bias_leaky(h: &mut [f32], bias: &[f32]) {
        for row in h.chunks_exact_mut(bias.len()) {
            for (x, b) in row.iter_mut().zip(bias) {
                let y = *x + b;
                *x = if y > 0.0 { y } else { 0.01 * y };
            }
        }
    }
}

fast! {
    // The gradient through the activation, in place, and its sum over rows.
    fn leaky_back(d: &mut [f32], h: &[f32], sum: &mut [f32]) {
        sum.fill(0.0);
        for (d, h) in d.chunks_exact_mut(sum.len()).zip(h.chunks_exact(sum.len())) {
            for ((d, h), s) in d.iter_mut().zip(h).zip(sum.iter_mut()) {
                *d = if *h > 0.0 { *d } else { 0.01 * *d };
                *s += *d;
            }
        }
    }
}

fast! {
    fn signed_logits(z: &mut [f32], l: &[f32], b: &[f32], x: &[f32]) {
        for (((z, l), b), x) in z.iter_mut().zip(l).zip(b).zip(x) {
            *z = (2.0 * x - 1.0) * (l + b);
        }
    }
}

fast! {
    fn signed_slopes(d: &mut [f32], slope: &[f32], value: &[f32], x: &[f32], sum: &mut [f32]) -> f32 {
        let mut total = [0.0f32; 16];
        for (k, (((d, s), x), t)) in d.iter_mut().zip(slope).zip(x).zip(sum.iter_mut()).enumerate() {
            *d = (2.0 * x - 1.0) * s;
            *t += *d;
            total[k % 16] += value[k];
        }
        total.iter().sum()
    }
}

struct Vae {
    batch: usize,
    x: Vec<f32>,
    weights: [Vec<f32>; 4],
    biases: [Vec<f32>; 4],
    gradients: [Vec<f32>; 4],
    bias_gradients: [Vec<f32>; 4],
    h1: Vec<f32>,
    h2: Vec<f32>,
    code: Vec<f32>,
    sd: Vec<f32>,
    eps: Vec<f32>,
    z: Vec<f32>,
    logits: Vec<f32>,
    d_h: Vec<f32>,
    d_code: Vec<f32>,
    d_z: Vec<f32>,
}

impl Vae {
    fn new(batch: usize) -> Vae {
        let noise =
            |n: usize, scale: f32| (0..n).map(|i| scale * ((i as f32 * 12.9898).sin() * 43758.547).fract()).collect::<Vec<f32>>();
        let sizes = [(HIDDEN, PIXELS), (2 * LATENT, HIDDEN), (HIDDEN, LATENT), (PIXELS, HIDDEN)];
        let zeros = |n: usize| vec![0.0f32; n];
        Vae {
            batch,
            x: (0..batch * PIXELS).map(|i| f32::from(u8::from((i * 7919) % 10 < 3))).collect(),
            weights: sizes.map(|(m, n)| noise(m * n, 1.0 / (n as f32).sqrt())),
            biases: sizes.map(|(m, _)| zeros(m)),
            gradients: sizes.map(|(m, n)| zeros(m * n)),
            bias_gradients: sizes.map(|(m, _)| zeros(m)),
            h1: zeros(batch * HIDDEN),
            h2: zeros(batch * HIDDEN),
            code: zeros(batch * 2 * LATENT),
            sd: zeros(batch * LATENT),
            eps: zeros(batch * LATENT),
            z: zeros(batch * LATENT),
            logits: zeros(batch * PIXELS),
            d_h: zeros(batch * HIDDEN),
            d_code: zeros(batch * 2 * LATENT),
            d_z: zeros(batch * LATENT),
        }
    }

    /// The evidence lower bound of one draw for each image, and its gradients.
    fn gradient(&mut self, step: u64) -> Result<f32, kernels::KernelError> {
        let n = self.batch;
        let [w1, w2, w3, w4] = &self.weights;
        let [b1, b2, b3, b4] = &self.biases;
        let times = |c: &mut [f32], a: &[f32], b: &[f32], g: Gemm| kernels::gemm(c, a, b, g, false);
        times(&mut self.h1, &self.x, w1, Gemm::dense(n, HIDDEN, PIXELS).transpose_b())?;
        bias_leaky(&mut self.h1, b1);
        times(&mut self.code, &self.h1, w2, Gemm::dense(n, 2 * LATENT, HIDDEN).transpose_b())?;
        let mut raw = vec![0.0; n * LATENT];
        for (r, c) in self.code.chunks_exact_mut(2 * LATENT).enumerate() {
            c.iter_mut().zip(b2).for_each(|(c, b)| *c += b);
            raw[r * LATENT..][..LATENT].copy_from_slice(&c[LATENT..]);
        }
        let mut sd_slope = vec![0.0; n * LATENT];
        kernels::pair(Kernel::SoftplusPair, &mut self.sd, &mut sd_slope, &raw)?;
        kernels::draw(Kernel::Normal, &mut self.eps, Key { seed: 1, site: 1, step, time: 0 })?;
        let mut log_sd = vec![0.0; n * LATENT];
        kernels::unary(Kernel::Log, &mut log_sd, &self.sd)?;
        let mut value = 0.0f32;
        for r in 0..n {
            for k in 0..LATENT {
                let i = r * LATENT + k;
                self.z[i] = self.code[r * 2 * LATENT + k] + self.sd[i] * self.eps[i];
                // log p(z) - log q(z)
                value += -0.5 * self.z[i] * self.z[i] + 0.5 * self.eps[i] * self.eps[i] + log_sd[i];
            }
        }
        times(&mut self.h2, &self.z, w3, Gemm::dense(n, HIDDEN, LATENT).transpose_b())?;
        bias_leaky(&mut self.h2, b3);
        times(&mut self.logits, &self.h2, w4, Gemm::dense(n, PIXELS, HIDDEN).transpose_b())?;
        let (mut signed, mut loss, mut slope) = ([0.0; PIXELS], [0.0; PIXELS], [0.0; PIXELS]);
        self.bias_gradients[3].fill(0.0);
        for (l, x) in self.logits.chunks_exact_mut(PIXELS).zip(self.x.chunks_exact(PIXELS)) {
            signed_logits(&mut signed, l, b4, x);
            kernels::pair(Kernel::LogSigmoidPair, &mut loss, &mut slope, &signed)?;
            value += signed_slopes(l, &slope, &loss, x, &mut self.bias_gradients[3]);
        }
        // Backwards; `logits` holds their gradient.
        times(&mut self.gradients[3], &self.logits, &self.h2, Gemm::dense(PIXELS, HIDDEN, n).transpose_a())?;
        times(&mut self.d_h, &self.logits, w4, Gemm::dense(n, HIDDEN, PIXELS))?;
        leaky_back(&mut self.d_h, &self.h2, &mut self.bias_gradients[2]);
        times(&mut self.gradients[2], &self.d_h, &self.z, Gemm::dense(HIDDEN, LATENT, n).transpose_a())?;
        times(&mut self.d_z, &self.d_h, w3, Gemm::dense(n, LATENT, HIDDEN))?;
        self.bias_gradients[1].fill(0.0);
        for r in 0..n {
            for k in 0..LATENT {
                let i = r * LATENT + k;
                let d = self.d_z[i] - self.z[i];
                let d_sd = (d * self.eps[i] + 1.0 / self.sd[i]) * sd_slope[i];
                self.d_code[r * 2 * LATENT + k] = d;
                self.d_code[r * 2 * LATENT + LATENT + k] = d_sd;
                self.bias_gradients[1][k] += d;
                self.bias_gradients[1][LATENT + k] += d_sd;
            }
        }
        times(&mut self.gradients[1], &self.d_code, &self.h1, Gemm::dense(2 * LATENT, HIDDEN, n).transpose_a())?;
        times(&mut self.d_h, &self.d_code, w2, Gemm::dense(n, HIDDEN, 2 * LATENT))?;
        leaky_back(&mut self.d_h, &self.h1, &mut self.bias_gradients[0]);
        times(&mut self.gradients[0], &self.d_h, &self.x, Gemm::dense(HIDDEN, PIXELS, n).transpose_a())?;
        Ok(value)
    }
}

const PARTICLES: usize = 64;

struct Cone {
    mu: [f32; 2],
    log_sd: [f32; 2],
}

/// What the loop over particles adds up: the bound, and gradients by both means and by both log standard deviations (without the entropy's).
type Sums = [[f32; 16]; 5];

fast! {
    fn likelihood(mu: [f32; 2], sd: [f32; 2], e: &[[f32; PARTICLES]; 2], scale: &mut [f32; PARTICLES]) {
        for i in 0..PARTICLES {
            let (x, y) = (mu[0] + sd[0] * e[0][i], mu[1] + sd[1] * e[1][i]);
            scale[i] = 0.1 + 0.01 * (x * x + y * y);
        }
    }
}

fast! {
    fn particles(mu: [f32; 2], sd: [f32; 2], e: &[[f32; PARTICLES]; 2], scale: &[f32; PARTICLES], log_scale: &[f32; PARTICLES], out: &mut Sums) {
        *out = [[0.0; 16]; 5];
        for block in 0..PARTICLES / 16 {
            #[expect(clippy::needless_range_loop, reason = "lanes of five sums at once")]
            for lane in 0..16 {
                let i = 16 * block + lane;
                let (x, y) = (mu[0] + sd[0] * e[0][i], mu[1] + sd[1] * e[1][i]);
                let r = x * x + y * y;
                let inverse = 1.0 / scale[i];
                let t = (5.0 - r) * inverse;
                out[0][lane] += -0.5 * t * t - log_scale[i] - 0.005 * r + 0.5 * (e[0][i] * e[0][i] + e[1][i] * e[1][i]);
                // By r: the normal's mean and its scale.
                let d_r = t * inverse + 0.01 * inverse * (t * t - 1.0);
                let (dx, dy) = ((2.0 * d_r - 0.01) * x, (2.0 * d_r - 0.01) * y);
                out[1][lane] += dx;
                out[2][lane] += dy;
                out[3][lane] += dx * e[0][i];
                out[4][lane] += dy * e[1][i];
            }
        }
    }
}

impl Cone {
    /// One step of stochastic gradient ascent; the bound.
    fn step(&mut self, step: u64) -> Result<f32, kernels::KernelError> {
        let mut e = [[0.0f32; PARTICLES]; 2];
        for (site, e) in e.iter_mut().enumerate() {
            kernels::draw(Kernel::Normal, e, Key { seed: 1, site: site as u64, step, time: 0 })?;
        }
        let mut sd = [0.0; 2];
        kernels::unary(Kernel::Exp, &mut sd, &self.log_sd)?;
        let (mut scale, mut log_scale) = ([0.0; PARTICLES], [0.0; PARTICLES]);
        likelihood(self.mu, sd, &e, &mut scale);
        kernels::unary(Kernel::Log, &mut log_scale, &scale)?;
        let mut sums: Sums = [[0.0; 16]; 5];
        particles(self.mu, sd, &e, &scale, &log_scale, &mut sums);
        let mean = sums.map(|s| s.iter().sum::<f32>() / PARTICLES as f32);
        for k in 0..2 {
            self.mu[k] += 1e-3 * mean[1 + k];
            self.log_sd[k] += 1e-3 * (mean[3 + k] * sd[k] + 1.0);
        }
        Ok(mean[0] + self.log_sd.iter().sum::<f32>() - 2.0 * 10f32.ln() - 0.918_938_5)
    }
}

fn main() -> Result<(), String> {
    let text = |e: kernels::KernelError| e.to_string();
    let mut vae = Vae::new(512);
    // A gradient that is wrong measures nothing: compare one with a difference.
    let at = 12_345;
    let bound = |vae: &mut Vae, x: f32| {
        vae.weights[3][at] += x;
        let v = vae.gradient(0);
        vae.weights[3][at] -= x;
        v
    };
    let (high, low) = (bound(&mut vae, 0.05).map_err(text)?, bound(&mut vae, -0.05).map_err(text)?);
    vae.gradient(0).map_err(text)?;
    let (slope, difference) = (vae.gradients[3][at], (high - low) / 0.1);
    if (slope - difference).abs() > 0.05 * slope.abs() + 2.0 {
        return Err(format!("the gradient written by hand is {slope}, a difference says {difference}"));
    }
    let v = median(1.0, |k| {
        vae.gradient(k).unwrap_or(f32::NAN);
    });
    let mut cone = Cone { mu: [0.0; 2], log_sd: [1.0; 2] };
    let mut last = 0.0;
    let c = median(1.0, |k| last = cone.step(k).unwrap_or(f32::NAN));
    if !(-12.0..-6.0).contains(&last) {
        return Err(format!("the cone written by hand ends at {last}, not near -8.1"));
    }
    #[expect(clippy::print_stdout, reason = "the result")]
    {
        println!("{{\"vae_us\": {v:.3}, \"cone_us\": {c:.4}}}");
    }
    Ok(())
}
