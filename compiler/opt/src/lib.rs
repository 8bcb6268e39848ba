//! ppl-opt
