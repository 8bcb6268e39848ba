//! One newtype for each kind of id. `Display` prints what the text format reads.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// Position in its table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}

ids! {
    /// A variable of one function.
    Var, "%";
    /// A generative function of a module.
    GenId, "gen@";
    /// An estimator function of a module.
    EstId, "est@";
    /// A deterministic function of a module.
    DetId, "det@";
    /// A distribution at given parameter types.
    DistId, "dist@";
    /// A strategy for one distribution.
    StrategyId, "strategy@";
}
