//! Close codes: which of them may stand in a Close frame (RFC 6455 7.4).
//!
//! The table says what the wire allows, not what a code means to an application. It covers the codes of RFC
//! 6455 7.4.1 and those registered since (1012 to 1014); the reserved ranges are those of 7.4.2.

/// Whether an endpoint may send `code` in a Close frame. 1004 is reserved; 1005, 1006 and 1015 are names
/// for things that never were on the wire; 0 to 999 are unused, 1016 to 2999 are kept for the protocol and
/// its extensions, and nothing above 4999 is defined.
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_codes_never_travel() {
        let allowed = [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1013, 1014];
        let allowed = allowed.into_iter().chain([3000, 3999, 4000, 4999]);
        for code in allowed {
            assert!(may_be_sent(code), "{code}");
        }
        let refused = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX];
        for code in refused {
            assert!(!may_be_sent(code), "{code}");
        }
    }
}
