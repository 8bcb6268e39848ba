//! The instruction sets kernels are compiled for.

use std::sync::OnceLock;

/// An instruction set with its own copy of the kernels. All copies give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// What the compiler's target guarantees.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, DQ, BW and VL.
    Avx512,
}

impl Isa {
    /// The instruction sets this machine can run, the best last.
    pub fn available() -> &'static [Isa] {
        static FOUND: OnceLock<&'static [Isa]> = OnceLock::new();
        FOUND.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl");
                match (avx2, avx512) {
                    (true, true) => &[Isa::Portable, Isa::Avx2, Isa::Avx512],
                    (true, false) => &[Isa::Portable, Isa::Avx2],
                    _ => &[Isa::Portable],
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                &[Isa::Portable]
            }
        })
    }

    /// The best instruction set of this machine.
    pub fn best() -> Isa {
        Isa::available().last().copied().unwrap_or(Isa::Portable)
    }
}

/// Defines `fn pick<..>(isa) -> *const u8`, the address of an `extern "C"` function that runs `body`, compiled for `isa`.
///
/// `body` must be `#[inline(always)]`, or the copies would share one compiled for the baseline.
macro_rules! per_isa {
    ($(#[$doc:meta])* $pick:ident = $body:ident [$($g:ident : $bound:path),*] ($($arg:ident : $ty:ty),* $(,)?)) => {
        $(#[$doc])*
        pub(crate) fn $pick<$($g: $bound),*>(isa: crate::isa::Isa) -> *const u8 {
            unsafe extern "C" fn portable<$($g: $bound),*>($($arg: $ty),*) {
                // SAFETY: the caller keeps the kernel's contract on pointers, which is the body's.
                unsafe { $body::<$($g),*>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe extern "C" fn avx2<$($g: $bound),*>($($arg: $ty),*) {
                // SAFETY: as above.
                unsafe { $body::<$($g),*>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
            unsafe extern "C" fn avx512<$($g: $bound),*>($($arg: $ty),*) {
                // SAFETY: as above.
                unsafe { $body::<$($g),*>($($arg),*) }
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                crate::isa::Isa::Avx512 => avx512::<$($g),*> as unsafe extern "C" fn($($ty),*) as *const u8,
                #[cfg(target_arch = "x86_64")]
                crate::isa::Isa::Avx2 => avx2::<$($g),*> as unsafe extern "C" fn($($ty),*) as *const u8,
                _ => portable::<$($g),*> as unsafe extern "C" fn($($ty),*) as *const u8,
            }
        }
    };
}
pub(crate) use per_isa;
