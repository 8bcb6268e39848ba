//! ppl-check
