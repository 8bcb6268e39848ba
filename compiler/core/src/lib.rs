//! ppl-core
