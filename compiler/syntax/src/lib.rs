//! ppl-syntax
