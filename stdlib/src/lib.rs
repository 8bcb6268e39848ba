//! ppl-stdlib
