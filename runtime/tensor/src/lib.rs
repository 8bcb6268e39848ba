//! ppl-tensor
