//! The one table of bounds.

/// Cases that are counted alike.
pub struct Section {
    /// Names its tests.
    pub name: &'static str,
    /// Stands above its table.
    pub title: &'static str,
    /// What is counted.
    pub columns: &'static [&'static str],
    /// The most that each case may come to, column by column.
    pub rows: &'static [(&'static str, &'static [f64])],
}

impl Section {
    /// The names of its tests, one for each case.
    pub fn tests(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|(case, _)| format!("{}: {case}", self.name))
    }
}

/// All of them. They are for a dev build. Calls and allocations are the same in a release build; its blocks are smaller
/// where futures are, and its loops shorter.
///
/// Where a count is what the code makes it, the bound is that count. Where it is also a question of what comes together,
/// the bound is for all of it coming apart: a machine that is busy makes such counts smaller.
pub const BOUNDS: &[Section] = &[
    Section {
        name: "calls per message",
        title: "System calls of the worker for each message and its echo",
        columns: &["reads", "empty reads", "writes", "full writes", "waits", "empty waits", "other"],
        // Timers come at whole milliseconds: now and then one that is nearly due makes a wait of 0 ms.
        rows: &[
            ("125 bytes", &[2.0, 0.0, 2.0, 0.0, 2.0, 0.5, 0.0]),
            ("125 bytes, TLS", &[2.0, 0.0, 2.0, 0.0, 2.0, 0.5, 0.0]),
            ("125 bytes, 16 in flight", &[0.125, 0.0, 0.125, 0.0, 0.125, 0.04, 0.0]),
            ("125 bytes, 16 in flight, TLS", &[0.125, 0.0, 0.125, 0.0, 0.125, 0.04, 0.0]),
            ("125 bytes, 64 tunnels", &[2.0, 0.0, 2.0, 0.0, 2.0, 0.5, 0.0]),
            ("125 bytes, 64 tunnels, TLS", &[2.0, 0.0, 2.0, 0.0, 2.0, 0.5, 0.0]),
            ("16 KiB", &[2.0, 0.0, 2.0, 0.0, 2.0, 0.5, 0.0]),
            ("16 KiB, TLS", &[2.0, 0.0, 2.0, 0.0, 2.0, 0.5, 0.0]),
            // 18 scratch buffers full in each direction, if the sender is always ahead. Each record alone, if it never is.
            ("1 MiB", &[50.0, 2.0, 50.0, 2.0, 40.0, 2.0, 0.0]),
            ("1 MiB, TLS", &[90.0, 2.0, 80.0, 2.0, 80.0, 2.0, 0.0]),
        ],
    },
    Section {
        name: "calls per tunnel",
        title: "System calls of the worker for each tunnel, from its beginning to its end",
        columns: &[
            "reads",
            "empty reads",
            "writes",
            "full writes",
            "waits",
            "empty waits",
            "open",
            "options",
            "poller",
            "close",
            "other",
        ],
        // What may come together: a new socket's room to write and the first bytes on it, the backend's Close and its end.
        // `open` has the vain `accept4` behind each connection, `other` what a dev build asks of its descriptors.
        rows: &[
            ("open and close", &[6.0, 0.0, 4.0, 0.0, 9.0, 0.5, 4.0, 7.0, 4.0, 4.0, 3.0]),
            ("open and close, TLS", &[8.0, 0.0, 7.0, 0.0, 11.0, 0.5, 4.0, 7.0, 4.0, 4.0, 3.0]),
            ("open and close, TLS resumed", &[8.0, 0.0, 7.0, 0.0, 11.0, 0.5, 4.0, 7.0, 4.0, 4.0, 3.0]),
        ],
    },
    Section {
        name: "heap per message",
        title: "Heap: what the worker allocates for each message and its echo",
        columns: &["allocations", "bytes"],
        rows: &[
            ("125 bytes", &[0.0, 0.0]),
            ("125 bytes, TLS", &[2.0, 280.0]),
            ("125 bytes, 16 in flight", &[0.0, 0.0]),
            ("125 bytes, 16 in flight, TLS", &[0.125, 260.0]),
            // The runtime's queue may grow once: it has room for 64 tasks at first.
            ("125 bytes, 64 tunnels", &[0.01, 10.0]),
            ("125 bytes, 64 tunnels, TLS", &[2.01, 290.0]),
            ("16 KiB", &[0.0, 0.0]),
            // rustls takes a block for each record, whether it comes or goes.
            ("16 KiB, TLS", &[4.0, 33_000.0]),
            // A reader that is behind makes the tunnel keep what it has read.
            ("1 MiB", &[34.0, 2_200_000.0]),
            ("1 MiB, TLS", &[250.0, 4_600_000.0]),
        ],
    },
    Section {
        name: "heap per tunnel",
        title: "Heap: what the worker allocates for each tunnel, from its beginning to its end",
        columns: &["allocations", "bytes"],
        // A signature's length varies by a few bytes.
        rows: &[
            ("open and close", &[64.0, 65_000.0]),
            ("open and close, TLS", &[212.0, 94_000.0]),
            ("open and close, TLS resumed", &[226.0, 93_000.0]),
        ],
    },
    Section {
        name: "heap of an idle tunnel",
        title: "Heap: what an idle tunnel holds, and what the C library has given out for it",
        columns: &["blocks", "bytes", "C bytes"],
        rows: &[
            ("plain", &[6.5, 1_400.0, 50.0]),
            // What is looked after of it, and the answer's time in the live table.
            ("plain, pinged", &[8.5, 1_650.0, 50.0]),
            ("TLS", &[15.5, 3_850.0, 1_300.0]),
            ("TLS resumed", &[15.5, 3_850.0, 1_300.0]),
            // 28 KiB of it are h2's: two buffers and a table.
            ("HTTP/2", &[39.5, 42_400.0, 1_300.0]),
            ("HTTP/2, 100 a connection", &[5.7, 2_200.0, 50.0]),
        ],
    },
    Section {
        name: "heap of endpoints",
        title: "Heap: what a change of one pool's ten backends takes, its list included, and what backends leave behind",
        columns: &["allocations", "bytes", "bytes left"],
        rows: &[
            ("a change, 10 routes", &[191.0, 24_000.0, 0.0]),
            ("a change, 10,000 routes", &[191.0, 24_000.0, 0.0]),
            ("10,000 that came and went", &[0.0, 0.0, 0.0]),
        ],
    },
    Section {
        name: "instructions",
        title: "Instructions of pure loops",
        columns: &["instructions"],
        // A quarter more than a dev build needs: another compiler may choose differently.
        rows: &[
            ("scanner, a frame of 125 bytes", &[360.0]),
            ("scanner, 64 KiB within a frame", &[90.0]),
            ("flow, 125 bytes", &[715.0]),
            ("flow, 125 bytes, blind", &[425.0]),
            ("tunnel, 125 bytes, observe", &[1_600.0]),
            ("tunnel, 125 bytes, limits", &[3_400.0]),
            ("tunnel, 125 bytes, off", &[900.0]),
            ("router, exact host, 10 routes", &[1_250.0]),
            ("router, wildcard, 10 routes", &[1_850.0]),
            ("router, prefix, 10 routes", &[2_350.0]),
            ("router, field, 10 routes", &[3_050.0]),
            ("router, parameter, 10 routes", &[4_400.0]),
            ("router, source, 10 routes", &[2_550.0]),
            ("router, exact host, 10,000 routes", &[1_250.0]),
            ("router, wildcard, 10,000 routes", &[1_900.0]),
            ("router, prefix, 10,000 routes", &[2_400.0]),
            ("router, field, 10,000 routes", &[3_050.0]),
            ("router, parameter, 10,000 routes", &[4_550.0]),
            ("router, source, 10,000 routes", &[2_550.0]),
            ("pool, round robin, 3 backends", &[245.0]),
            ("pool, round robin by weights, 3 backends", &[475.0]),
            ("pool, least connections, 3 backends", &[1_050.0]),
            ("pool, random, 3 backends", &[325.0]),
            ("pool, power of two, 3 backends", &[640.0]),
            ("pool, hash, 3 backends", &[250.0]),
            ("pool, bounded hash, 3 backends", &[590.0]),
            ("seats, least connections, 3 backends", &[1_000.0]),
            ("seats, power of two, 3 backends", &[925.0]),
            ("pool, round robin, 100 backends", &[245.0]),
            ("pool, round robin by weights, 100 backends", &[910.0]),
            ("pool, least connections, 100 backends", &[22_300.0]),
            ("pool, random, 100 backends", &[450.0]),
            ("pool, power of two, 100 backends", &[875.0]),
            ("pool, hash, 100 backends", &[250.0]),
            ("pool, bounded hash, 100 backends", &[6_650.0]),
            ("seats, least connections, 100 backends", &[25_000.0]),
            ("seats, power of two, 100 backends", &[1_010.0]),
            ("pool, round robin, 5,000 backends", &[245.0]),
            ("pool, round robin by weights, 5,000 backends", &[1_470.0]),
            ("pool, least connections, 5,000 backends", &[920_000.0]),
            ("pool, random, 5,000 backends", &[460.0]),
            ("pool, power of two, 5,000 backends", &[875.0]),
            ("pool, hash, 5,000 backends", &[250.0]),
            ("pool, bounded hash, 5,000 backends", &[313_000.0]),
            ("seats, least connections, 5,000 backends", &[1_240_000.0]),
            ("seats, power of two, 5,000 backends", &[1_150.0]),
        ],
    },
    Section {
        name: "growth",
        title: "How many times the instructions that many need are those that few need",
        columns: &["times"],
        rows: &[
            ("router, exact host", &[2.0]),
            ("router, wildcard", &[2.0]),
            ("router, prefix", &[2.0]),
            ("router, field", &[2.0]),
            ("router, parameter", &[2.0]),
            ("router, source", &[2.0]),
            ("pool, round robin", &[1.25]),
            // With the logarithm of their number.
            ("pool, round robin by weights", &[4.0]),
            // In proportion: each choice looks at every backend.
            ("pool, least connections", &[2_000.0]),
            ("pool, random", &[2.0]),
            ("pool, power of two", &[2.0]),
            ("pool, hash", &[1.25]),
            ("pool, bounded hash", &[1_100.0]),
            ("seats, least connections", &[2_000.0]),
            ("seats, power of two", &[2.0]),
        ],
    },
];
