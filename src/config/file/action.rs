//! The words of what becomes of a route's requests.

use crate::config::reader::words;
use crate::config::syntax::Name;
use crate::config::words::Number;

words! {
    /// An entry of `split`
    struct ShareWords = "a share" {
        /// The pool that gets it, one of `[pools.NAME]`.
        required pool: Name,
        /// How many of the requests it gets, beside the weights of the others, 0 (none) to 1,000,000; default 1.
        optional weight: Number<0, 1_000_000>,
    }
}
