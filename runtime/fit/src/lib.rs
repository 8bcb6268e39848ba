//! ppl-fit
