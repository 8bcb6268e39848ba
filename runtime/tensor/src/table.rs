//! Addresses of kernels.

use crate::isa::Isa;
use crate::{gemm, linear, ops, patches, random, rows};
use ppl_abi::{Family, Kernel, Precision};

/// Address of the best copy of a kernel on this machine: a [`ppl_abi::KernelTable`].
pub fn address(kernel: Kernel, precision: Precision) -> *const u8 {
    address_for(Isa::best(), kernel, precision)
}

/// Address of the copy compiled for `isa`, which the machine must have (see [`Isa::available`]).
pub fn address_for(isa: Isa, kernel: Kernel, precision: Precision) -> *const u8 {
    let isa = if Isa::available().contains(&isa) { isa } else { Isa::Portable };
    match precision {
        Precision::F32 => typed::<f32>(isa, kernel),
        Precision::F64 => typed::<f64>(isa, kernel),
    }
}

fn typed<T: crate::Float>(isa: Isa, kernel: Kernel) -> *const u8 {
    let found = match kernel.family() {
        Family::Unary | Family::Pair | Family::Binary | Family::Ternary => ops::address::<T>(kernel, isa),
        Family::Random => random::address::<T>(kernel, isa),
        Family::Linear => gemm::address::<T>(kernel, isa)
            .or_else(|| linear::address::<T>(kernel, isa))
            .or_else(|| patches::address::<T>(kernel, isa)),
        Family::Rows => rows::address::<T>(kernel, isa),
    };
    // `tests/table.rs` asks for every kernel.
    found.unwrap_or(std::ptr::null())
}
