//! ppl-driver
