//! ppl-codegen
