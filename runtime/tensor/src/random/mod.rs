//! Random draws; see [`ppl_abi::Key`] for how their bits are addressed.

mod discrete;
mod draw;
mod fill;
mod gamma;
mod minibatch;
mod philox;

pub(crate) use draw::Draw;

use crate::float::Float;
use crate::isa::Isa;
use ppl_abi::Kernel;

/// Address of a kernel of this family.
pub(crate) fn address<T: Float>(kernel: Kernel, isa: Isa) -> Option<*const u8> {
    match kernel {
        Kernel::Uniform => Some(fill::uniform::<T>(isa)),
        Kernel::Normal => Some(fill::normal::<T>(isa)),
        Kernel::Bernoulli => Some(fill::bernoulli::<T>(isa)),
        Kernel::StandardGamma => Some(gamma::standard_gamma::<T>(isa)),
        Kernel::Poisson => Some(discrete::poisson::<T>(isa)),
        Kernel::Binomial => Some(discrete::binomial::<T>(isa)),
        Kernel::Categorical => Some(fill::categorical::<T>(isa)),
        Kernel::CategoricalLog => Some(fill::categorical_log::<T>(isa)),
        Kernel::Permutation => Some(fill::permutation::<T>(isa)),
        Kernel::Minibatch => Some(minibatch::minibatch::<T>(isa)),
        _ => None,
    }
}
