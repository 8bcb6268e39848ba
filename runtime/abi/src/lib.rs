//! ppl-abi
