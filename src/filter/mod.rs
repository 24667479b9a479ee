//! What a request must pass before a backend hears of it.

pub mod origin;
