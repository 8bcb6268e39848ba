//! Special functions in double precision. Single precision rounds their results.

pub(crate) mod beta;
pub(crate) mod gamma;
pub(crate) mod incomplete;
pub(crate) mod normal;
pub(crate) mod von_mises;
