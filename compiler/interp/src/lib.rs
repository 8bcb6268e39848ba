//! ppl-interp
