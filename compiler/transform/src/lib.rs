//! ppl-transform
