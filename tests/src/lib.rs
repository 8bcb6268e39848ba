//! ppl-tests
