//! longhaul: a reverse proxy and load balancer for connections that stay open. This page is its map.
//!
//! # What it does
//! A client's socket is accepted, secured, and read as HTTP/1.1 or HTTP/2. A request finds its route; a WebSocket handshake is
//! checked, offered to a backend, and its answer checked; then the two streams are joined until both have ended. All
//! of it is measured while it happens.
//!
//! Two files tell the story, each on about one screen: [`listen::connection`] (one socket: bytes to HTTP) and
//! [`proxy::exchange`] (one request: HTTP to an answer or a tunnel).
//!
//! # Nouns
//! | word | meaning |
//! |---|---|
//! | listener | a bound socket and its TLS |
//! | route | a match and what happens; its identity is its name |
//! | pool | backends, and how to choose |
//! | backend | one address; its identity outlives configurations |
//! | handshake | from a request's head to its 101 |
//! | tunnel | a live upgraded connection |
//! | drain | no new ones; old ones are asked to go, some at a time |
//! | generation | one accepted configuration |
//!
//! # Layers
//! A module imports only from modules above it in this table; those in one row do not know each other. A test keeps it
//! so.
//!
//! | row | modules | what is there |
//! |---|---|---|
//! | 0 | [`proto`] | bytes and rules: pure, no sockets, no clock |
//! | 1 | [`config`] | from words in a file to checked meaning |
//! | 2 | [`outcome`], [`lifecycle`] | how things end; phases and permits |
//! | 3 | [`telemetry`] | metrics and logs |
//! | 4 | [`net`] | the only sockets |
//! | 5 | [`route`], [`upstream`], [`tunnel`] | which route, which backend, and the bytes between |
//! | 6 | [`filter`] | what a request must pass |
//! | 7 | [`state`] | the snapshot that the data plane reads |
//! | 8 | [`proxy`] | from a request to an answer or a tunnel |
//! | 9 | [`listen`], [`admin`] | from sockets to requests; metrics and health |
//! | 10 | [`supervisor`] | makes and joins all parts, and takes them down |
//! | 11 | [`demo`] | the main job on embedded defaults |
//! | 12 | [`cli`] | the command line |
//!
//! [`cli`] stands above [`demo`] because it starts it.
//!
//! What flows upward flows through channels that the supervisor made; what is read at scrape time are sources that it
//! registered with telemetry.
//!
//! # Routes
//! [`mod@route`] has the one order in which the most specific route wins, and what a lookup costs: it does not depend on the
//! number of routes, but for regular expressions. `longhaul check --explain` asks the table that a request would ask, and
//! reads its request as [`proxy::inbound`] does.
//!
//! # Backends
//! [`upstream::members`] has the one order in which backends are asked: who a cookie names, who is up and active, who has
//! not been probed, and then the backups. What a choice reads of each is one byte ([`upstream::standing`]): its health and
//! its state, which is what the file says until an operator orders another (`supervisor::states`). Balancers by load give
//! those that have just become available a share that grows ([`upstream::balance`]).
//!
//! Where backends may carry so many tunnels and not more, a tunnel has a seat ([`upstream::backend::Seat`]), and handshakes
//! that find none wait in the line of their pool ([`upstream::queue`]), which outlives generations as backends do.
//!
//! # Crowds
//! When all clients come back at once, three things keep them from hurting those that stayed, and each other. A route and
//! each backend may have a rate ([`proto::rate`], [`lifecycle::bucket`]): one word tells when the next handshake is due.
//! Those that wait stand in a line of which only the first has taken its turn, so that who leaves costs nobody anything. TLS handshakes are computed a few
//! in a row ([`net::tls`]), and then whatever else a worker has to do. And who is refused hears a time of its own to come back.
//!
//! # Threads
//! A worker is a thread with a current-thread runtime; a tunnel lives and dies on one worker, so its bytes cross no
//! core. Every listener has one socket and one accepting loop (`listen::admit`), which hands each connection to the
//! less loaded of two workers chosen at random. With a single worker that loop runs on the worker itself. Metrics and
//! health checks of longhaul are answered by a thread of their own (`admin`), the log is written by another
//! (`telemetry::log`). The main thread runs the supervisor and the probes of backends.
//!
//! # State
//! The supervisor alone writes. It builds a [`state::Snapshot`] and swaps it in with one pointer; a request loads it
//! once. A route names its pools by their places in the snapshot ([`state::pools`]), so that a pool can be re-made alone. A
//! tunnel keeps its terms and its backend, never the snapshot: an old generation must not live as long as its oldest
//! tunnel. Load and health of a backend are atomics that all workers share, because the choice of a backend must
//! see them all.
//!
//! # Who is asked
//! Two things are known of a backend. What probes find ([`upstream::health`]) makes it up or down, for as long as they find
//! it. What requests and tunnels find ([`upstream::ejection`]) ejects it, for a set time: whoever sends something tells
//! what came of it, which of a backend on which all is well takes no lock and no memory. A choice takes those that are
//! up, then those that have not been probed, then the backups in the same order, and those that are ejected only then;
//! never those that are down. Probes do not end an ejection, because they passed, or there were none, while requests
//! failed.
//!
//! # Who is asked next
//! [`upstream::retry`] has the rules. A connection that does not come about leads to the next backend at once, in every
//! pool. What a backend has got goes on to another one only where a pool says so, out of a budget, and only as long as
//! nothing can happen twice: a handshake, an idempotent request, a body of which nothing was sent. So what may be sent
//! again is kept only in such pools; in others a request costs not one allocation for it.
//!
//! # A change of the configuration
//! `supervisor::reload` walks it: read and check the file, build the snapshot, bind new listeners; on any failure up to
//! here nothing was touched. Then one pointer is swapped, removed listeners close, health checks start and stop, bounds
//! move, the log takes its new settings. Parts that the new generation leaves as they were are the same `Arc`s in both;
//! so is what a pool's TLS is made of, with its sessions, when other keys of the pool change.
//! `supervisor::watch` notices changes by content, `admin::api` and SIGHUP ask for them; all of them only send orders.
//!
//! # Discovery
//! A pool may leave it to others to name its backends ([`upstream::discovery`], one source a pool, each a task of the main
//! thread). A source only sends what it has found. The supervisor compares it with what is in force, and if it is another
//! list re-makes that one pool and stores a snapshot that shares everything else with the one before, the table of routes
//! included ([`state::build::pool::with_backends`]); the generation is the same. Faults and empty answers are never sent, so
//! what was found last stays. A reload begins with what the pool of the same name has, until its source says otherwise.
//!
//! DNS is asked through hickory-resolver ([`net::dns`]), without its cache: a source keeps its own time
//! ([`upstream::discovery::asking`]). The families of a name are asked apart, and a fault of one keeps what that one had.
//! Readiness waits for the first look of every source, as it does for the first probe of every backend.
//!
//! Who is no longer named, there or in the file, is held by `supervisor::leaving` until nobody else holds it: its tunnels are
//! asked to go when `removal_grace` is over, and it is the same backend, with its counts, if it is named again.
//!
//! # Stopping, and other ways to go
//! On SIGTERM readiness fails; after `drain.delay` the listeners close, and all tunnels are asked to go; at `drain.deadline`
//! what is left is cut, which the exit status tells. Tunnels of a backend that drains, was removed, or is down
//! (`on_down = "drain"`), and of a route that was removed, are asked in the same way and by the same part,
//! `supervisor::waves`. A cause stands as long as it holds, and while any does the live table is looked through once a second:
//! so handshakes that were under way are found when they have become tunnels, and a backend that is back keeps what has not
//! been asked yet. Whoever changes a state tells when a cause ends: what begins behind that is another wave. A slot is of one
//! cause; a tunnel that is to go for another, or because the process stops, gets another slot. Who goes when is a function of
//! the number of tunnels, a seed, the window and the rate ([`proto::waves`]); of a tunnel that waits an id, a time and two
//! numbers are kept. What going is, is in [`tunnel::goodbye`].
//!
//! Where a pool asks for it, `supervisor::rebalance` picks tunnels of backends that carry too much when another has come
//! ([`proto::rebalance`]), and they go in the same way.
//!
//! When the process stops an HTTP/2 connection goes as a whole: its tunnels have one slot, and GOAWAY follows; one without
//! tunnels gets it at once. Tunnels know their connection by a number ([`tunnel::carriers`]). A tunnel that is asked for behind
//! GOAWAY is refused (REFUSED_STREAM), a plain request that crosses it is still answered.
//!
//! # Handover
//! A new process asks the running one for its sockets, over a unix socket that only their user and root can use
//! ([`proto::manifest`] has the words, [`net::handover`] the bytes and descriptors, `supervisor::handover` the steps). It prepares
//! all of a start with them, its first probes and looks of discovery included, and is then told to go: `supervisor::start` is cut in
//! two for that. Until it says that it serves, the running process has changed nothing, and goes on after any failure. For a
//! moment both accept from the same sockets.
//!
//! A socket that two processes have is one socket: its queue, its options, its filter, and the file of a unix socket. So what the
//! other process keeps is closed as it is ([`listen::admit::HandedOver`]), without the filter of a closing listener and without
//! taking the rest of its queue, and its file stays. What the other one does not keep closes as always. Files are the
//! new process's only when it serves: else its failure would remove them.
//!
//! With the sockets go the keys that no file has, those of session tickets ([`net::tls::rolling`]) and of sticky cookies, and how
//! backends stand (`supervisor::handover::known`): a verdict counts until the new process has found its own.
//!
//! Versions of the two may differ by one another: each says which versions of the protocol it speaks, and what one side does not
//! know it passes over. The connection stays, and the process that drains tells over it how many tunnels it has left. If the
//! one that listens is replaced as well, it hands that connection on.
//!
//! # A tunnel
//! After the handshake a tunnel is a task of its own: two streams, two [`tunnel::flow::Flow`]s, a timer, its terms, and
//! what it holds until its end (a lease on its backend, a permit, an entry in the live table, its place among the
//! listener's connections). It owns no buffer: bytes move through a buffer of the worker, and are kept only when a
//! reader does not take them, then at most one buffer's worth ([`tunnel::scratch::SCRATCH_BYTES`]) in each direction.
//! hyper's own buffers are gone by then: its read-ahead is copied out, because even an empty one would keep 8 KiB alive.
//!
//! Frame headers are read as they pass ([`proto::scan`]): what they begin is counted ([`tunnel::tap`]) and the Close frames
//! noted, nothing is changed. After a violation of the framing that direction is no longer watched; its bytes go on, and no
//! limit holds for them. A tunnel whose route says `inspect = "off"` is not watched at all, nor is one whose ends agreed on an
//! extension that is not known here; where the rules are enforced (`"strict"`) none such is offered. What is to be added between frames, or kept back, has a
//! block of its own in the direction that it is for, from then on ([`proto::weave`]).
//!
//! Pings of the proxy's own ([`tunnel::pings`]) go between two frames; their answers are known by a secret of the tunnel
//! and kept back. The clock of an answer starts when its Ping was flushed, and any byte of the peer stops it. Between an
//! answer and the next Ping, all passes as it is again.
//!
//! Where a route limits what may come, each header is looked at before its frame passes ([`proto::limit`]). What comes too fast
//! is not read, or given back to wait where it has been; a timer lets it go on. No deadline holds against a peer that the
//! proxy itself does not read.
//!
//! Time costs a tunnel nothing per message: a coarse clock of the worker ([`tunnel::clock`]) stamps activity, and one
//! timer per tunnel looks at the stamp when it fires.
//!
//! # An idle tunnel, byte by byte
//! What `cargo bench --bench counts` finds on the heap for a plain tunnel, 1,378 bytes in six blocks:
//!
//! | bytes | what |
//! |---|---|
//! | 512 | its task: [`tunnel::splice::Splice`] (296) with its guards (56), tokio's header and trailer, rounded up to 128 |
//! | 2 x 256 | tokio's readiness of the two sockets, aligned to cache lines |
//! | 176 | its entry in the live table ([`tunnel::sessions::Session`], 160, counted): its route's terms among it |
//! | 96 | its timer: one, for the nearest of its deadlines |
//! | 40 | its place among the connections (`Presence`, counted): permit, gauge, load of the worker |
//! | about 42 | its share of the live table's nodes |
//!
//! What few tunnels have at a time has a block of its own behind that entry ([`tunnel::seldom`]): from the first control
//! frame, the first answer to a Ping, or the first order, on: 104 bytes. What is looked after of a tunnel has another, 136 bytes
//! ([`tunnel::care`]), from its first Ping on.
//!
//! Lease, permit, gauge, listener and metric handles are pointers in the task; route, backend and listener names
//! are shared. A subprotocol that was agreed on costs 16 bytes and its length. TLS from the client adds 2,409 bytes: its stream
//! with rustls' connection in it (1,240), what that keeps for messages of the handshake (640) and for records (2 x 96), its
//! traffic state (224), keys (2 x 48) and names (17), and 1,216 bytes of AES contexts in the C library's heap. The
//! allocator's rounding and pages in use make that 1.5 and 5.3 KiB of resident memory; tests hold the sizes of the structs and
//! the counts of blocks and bytes (`tests/it/sizes.rs`, `tests/bench/counts`).
//!
//! Over HTTP/2 the first tunnel of a connection holds 42,164 bytes in 39 blocks, each further one about 1,700: its task,
//! its place in the live table, its timer and one socket as above, 184 bytes of its stream, and about 400 in h2's tables. Of
//! the connection's bytes 28 KiB are h2's buffers (16,384 for what it writes, 8,192 for what it reads) and its table of
//! fields (4,096), which no setting makes smaller, 4,352 the task of the connection. Hence the default of
//! [`extended_connect`](config::Tls::extended_connect): resident are 26 KiB a connection and 2 to 3 a tunnel, where a
//! tunnel of its own over HTTP/1.1 takes 5.3, so that it pays from a dozen tunnels a connection on, and a browser has one.
//!
//! # HTTP/2
//! The connection has a task that moves the bytes of all its streams ([`listen::http2`]); each stream has one of its own,
//! in which the same [`proxy::exchange`] runs. An extended CONNECT (RFC 8441) becomes the offer that an HTTP/1.1 upgrade
//! would be, and its stream a variant of [`net::stream::Stream`], so that its tunnel is a tunnel like any other.
//!
//! The `h2` crate is used directly, and kept empty: what arrives is taken from it at once, because it ends a connection on
//! which small frames pile up unread, and kept by the stream ([`net::http2::inlet`]). Its window is given back when the
//! bytes have gone on. One limit of h2 cannot be moved: the 101st empty DATA frame without END_STREAM in the life of a
//! connection ends it (`data_flood`); Chromium does not come to it, with hundreds of empty messages, tunnels and uploads on
//! one connection (`tests/e2e/browser`). Why h2 ends a connection is read from what it says to the client
//! ([`net::http2::watched`]), and so is how often it answers PING and SETTINGS, which it does without a limit.
//!
//! # Addresses
//! Who the client is follows one rule, [`proto::peer::Connection::client`]: what the PROXY header of a trusted sender
//! says, else the socket; and where that is a trusted proxy, the rightmost untrusted entry of its forwarding fields.
//! Records, the live table, and PROXY headers to backends all ask it.
//!
//! # Kept connections
//! Plain requests share connections to backends ([`upstream::reuse`]). Each worker has its own; what is kept belongs to a
//! backend and to the way in which it is spoken to, so that nothing of an older generation is found. One byte too many, an
//! answer whose end two readers could see in different places, a body that was not read: such a connection ends. Ahead of
//! each further request the socket itself is asked whether anything has come ([`net::line`]): what a backend sends unasked
//! must never be taken for an answer. WebSocket handshakes get connections of their own.
//!
//! # Ends
//! Every end has a name. A [`outcome::Refusal`] ends a request before there is a tunnel and knows its status; an
//! [`outcome::Ending`] ends a tunnel and knows who ended it.
//!
//! Whoever is still there when the other side is gone gets a Close of longhaul's own, if it stands between two frames
//! ([`proto::weave`] knows), and so much time to answer ([`tunnel::parting`]); else a reset travels as a reset, an end (FIN)
//! as an end. A [`tunnel::goodbye`] asks the client to go first, so that both sides end cleanly. The codes are 1011 (the
//! other side is gone), 1012 (because longhaul or the backend stops), 1002 (`inspect = "strict"`), 1009 and 1008 (`frames`),
//! 1013 for who does not read (and 1011 for the other side: to that one the peer is gone, and it is no overload of its own,
//! which 1013 would say), and what a goodbye says: 1001 when nobody says anything, 1012 when the tunnel is old, 1008 when the
//! backend's deadline has come.
//!
//! # Bounds
//! | what | bound | when it is reached |
//! |---|---|---|
//! | client connections | `limits.connections_max`, or what the descriptors allow | new ones wait in the kernel's queue |
//! | tunnels | `limits.tunnels_max`, a little less | 503 |
//! | handshakes that wait for a backend's answer | `limits.handshakes_max` | 503 |
//! | a head | `limits.head_bytes_max`, `limits.head_fields_max`, `limits.head_timeout` | 431, or the connection is cut |
//! | a request's target | `limits.target_bytes_max` | 414 |
//! | variables in a text of the configuration | 16, each as long as a target may be | the file is refused |
//! | the body of an answer of a route's own | 1 MiB | the file is refused |
//! | a request's body | the route's `body_bytes_max` | 413, and the backend's request is cut |
//! | a rest between two requests | `limits.keepalive_timeout` | the connection is closed |
//! | a client that sends on behind the last answer | 5 s, what it sends is thrown away | the connection is cut |
//! | bytes read behind a request that is being answered | 16 KiB beyond the head's limit | nothing more is read |
//! | a PROXY header | 107 bytes in version 1, 16 KiB in version 2; `limits.proxy_header_timeout` | the connection is cut |
//! | a TLS handshake | `limits.tls_handshake_timeout` | the connection is cut |
//! | TLS handshakes that a worker computes in a row | `limits.tls_handshakes_max` | others have their turn |
//! | WebSocket handshakes a second, of a route and of each backend | `handshake_rate` | they wait for `handshake_rate.wait`; then 503 |
//! | streams of an HTTP/2 connection | `limits.http2_streams_max` | the stream is refused |
//! | bytes kept of a stream | 64 KiB a direction | its client has no window |
//! | an HTTP/2 connection without streams | `limits.http2_idle_timeout`; before the first `limits.head_timeout` | GOAWAY; it is cut |
//! | the answer to a PING | `limits.http2_ping_timeout` | the connection is cut |
//! | streams reset before their answer | 200 more than were answered; 20 before they were looked at | the connection is cut |
//! | streams of an HTTP/2 connection that are reset for errors, or refused | 1,024 in its life | the connection is cut |
//! | answers to a client's PINGs and SETTINGS | 1,000 at once, then 100 a second | the connection is cut |
//! | an HTTP/2 head over `limits.head_bytes_max` | eight times that; 5 CONTINUATION frames, or a quarter more than it needs | the connection is cut |
//! | empty DATA frames | 100 in a connection's life | the connection is cut |
//! | tunnels of a backend | `max_tunnels`, if there is one | handshakes wait in line |
//! | handshakes in that line | `queue.waiting_max`, each `queue.timeout` | 503 |
//! | connections to backends for one request | 8, each `connect_timeout`, together four times that, TLS included | 502, 504 |
//! | idle connections to a backend | `keepalive.idle_max`, `timeout` and `age_max`; together what the descriptors leave | they are closed |
//! | connections to one backend from one source address | the ports of `net.ipv4.ip_local_port_range` | the next of `source_addresses`; then 503 |
//! | a backend's answer | `handshake_timeout`, `response_timeout` | 504 |
//! | a try of a handshake | `retry.try_timeout` | another backend is asked, if there is one |
//! | a wait before a retry | `retry.back_off_max` | the retry begins, if it can before the deadline of all tries |
//! | what a probe reads | an answer's head as above, `health.body_bytes_max`; 1 MiB of frames, 64 KiB behind the end | it has failed, or is cut |
//! | a probe | `health.timeout` | it has failed |
//! | probes at once, of all pools | 1 in 128 of the descriptors, at least 16 | the others wait for their turn |
//! | a frame, a message, and how fast they, their bytes and control frames come | the route's `frames` | it waits; or Close 1009, 1008 |
//! | bytes that are to wait for their turn | 60 KiB a direction | nothing more is read |
//! | a reader that takes nothing | the route's `write_timeout` | Close 1013, or it is cut |
//! | headers of frames that are remembered | the route's `record_frames`, 256 at most | the oldest are forgotten |
//! | silence of a side after a Ping | the route's `pings.timeout` | it is cut |
//! | silence in a tunnel, or in an answer's body | the route's `idle_timeout` | it is ended |
//! | bytes kept by a tunnel | 60 KiB a direction, and longhaul's own frames | nothing more is read |
//! | tunnels that are asked to go a second, over all causes | `drain.rate`, if there is one | the others wait |
//! | tunnels that a pool's rebalancing asks to go a second | `rebalance.per_second` | the others wait |
//! | a step of a handover | 5 s to greet, 10 s for sockets, 60 s to prepare, 10 s to serve | the running process goes on |
//! | a message of a handover | 64 MiB; 10,000 sockets, 200 at once | the running process goes on |
//! | processes before this one whose tunnels are counted | 64 | the oldest are forgotten |
//! | a stop, from the closing of the listeners on | `drain.deadline` | what is left is cut |
//! | a step of a tunnel's parting: to the end of a frame, to each side's Close | the route's `close_timeout` | it is cut |
//! | encrypted bytes that a socket does not take | 64 KiB a connection | nothing more is read for it |
//! | an incomplete TLS record, and decrypted bytes that a reader has no room for | 18 KiB each a connection | a longer record is refused; its sender is silent, as above |
//! | a message of the TLS handshake in several records | 64 KiB with their headers | the connection is cut |
//! | a client certificate's subject, and its names | 4 KiB of text each | the connection is cut |
//! | secrets for tickets, in a file | 16 | the file is refused |
//! | regular expressions of routes | 1,000 different ones, 256 KiB each, and caches of that size | the file is refused |
//! | TLS sessions kept for the backends of a pool | 256 names, 8 for each | the oldest is forgotten |
//! | backends of a pool with discovery | `discovery.backends_max` | a longer list is refused, of a longer answer some are taken |
//! | one question of DNS | `discovery.timeout`; 16 targets of SRV records at once | a fault: what was found last stays |
//! | a list of backends in a file | 16 MiB | it is refused |
//! | log lines | 8,192, and 16 MiB | dropped and counted |
//! | metric series | two million cells; 50,000 series a cold family | dropped and counted |
//!
//! # Decisions that are not obvious
//! * **A key of a hash stays whatever the load** ([`upstream::balance`]): the bound on load is off unless asked for. Replicas
//!   know their own loads only, so with a bound they would disagree, and with few tunnels two of one key would be too many.
//! * **A split does not look for backends that are up** ([`upstream::split`]): its parts are what was asked for, and a
//!   release that fails is seen to fail. Either all its pools set cookies or none, for who comes back to some of them and is
//!   drawn anew for others ends at those that hold on.
//! * **A redirect is judged when it is read** ([`config::Redirect`]): its scheme and its host stand in the file, or are those
//!   that the client itself asked for; what else comes from a request is percent-encoded and stands behind them.
//! * **A path with `..` is refused where its beginning is replaced** ([`proto::prefix`]), and nowhere else: there a backend
//!   that resolves it would serve what no route leads to. It is not resolved here, for the backend may read it otherwise.
//! * **A field that would be empty is removed** ([`filter::header`]): else what a client wrote under that name would be taken
//!   for what the variable stands for. Origins are judged before fields change, pools choose after.
//! * **A sticky cookie is a signature and nothing else** ([`upstream::sticky`]): what each backend's cookie is, is known when
//!   a pool is built, so a request costs one look in a table. It is passed on to backends, as no `Cookie` field is changed.
//! * **hyper's parser, not its upgrades**: an HTTP/1 handshake costs microseconds beside TLS' hundreds, so a parser of our
//!   own would gain little. But its upgrade mechanism costs a task, two channels and a boxed stream on either side; whoever
//!   drives a hyper connection here takes its stream back instead (`net::http::change`, `listen::connection`).
//! * **Accepted sockets inherit** their TCP options from the listening one, which saves five system calls a connection.
//! * **Metric cells of our own** ([`telemetry::cells`]): the `prometheus` crate's vectors merge some different label
//!   sets, and its counters are shared between cores. Its text format is used.
//! * **A reader of our own over TOML's tree** (`config::reader`): serde stops at the first error, and an operator
//!   wants all of them.
//! * **A PROXY header is looked at before it is taken** ([`net::proxy_header`]): no byte that follows it is ever read with
//!   it, so that neither TLS nor HTTP needs to be given bytes back.
//! * **A parser of our own for PROXY headers** ([`proto::proxy_header`]): the `proxy-header` crate (0.1.3) takes
//!   `PROXYxTCP4`, `UNKNOWNx`, ports such as `+80` and lines of any length for headers, and refuses a LOCAL one that names a
//!   family without addresses.
//! * **Unix sockets in the types of TCP** ([`net::listening`]): a stream socket is its descriptor, and an enum of both
//!   families would make every stream larger than a socket.
//! * **TLS on rustls' unbuffered API** ([`net::tls::stream`]), where tokio-rustls' streams were: those keep a read buffer of 4
//!   KiB for as long as a connection lives, more than half of what an idle tunnel with TLS took, and read 4 KiB at a time, three
//!   system calls a record. A record costs two blocks of rustls' still, as decryption and encryption there end in memory of
//!   their own. tokio-rustls reads the ClientHello where names that are unknown are refused.
//! * **One type for both sides of TLS** in [`net::stream::Stream`]: a variant for each side would make every stream larger
//!   than a socket, and rustls' states of a server and of a client are of about the same size.
//! * **Shared session tickets are AES-256-GCM-SIV** ([`net::tls::tickets`]): under long-lived keys, machines that draw
//!   nonces at random may draw one twice. What a listener demands of clients is part of the derivation of its keys, so that
//!   a session cannot be resumed where it could not have begun.
//! * **Regular expressions match all of a value** ([`config::Pattern`]), so that `~chat\.example\.com` does not let in
//!   `chat.example.com.evil`. They match bytes: what is compared may be no UTF-8, and needs no tables for Unicode.
//! * **The fields of client certificates have fixed names, and nobody's copies pass** ([`proto::client_certificate`]): a
//!   route serves all listeners, and a trusted proxy that does not know the fields would pass on a client's.
//! * **A listener's identity is its configured address** ([`state::ListenerKey`]), not its name: a listener that is
//!   renamed keeps its socket, and one that is re-addressed binds the new address before the old one closes.
//! * **A closing listener filters** ([`net::socket::drop_new_handshakes`]): between the last accept and the close a
//!   client could connect, and be reset. With new SYNs dropped, the queue that is empty stays empty.
//! * **A list of backends is TOML** ([`config::list`]), and not a line for each: cut off anywhere it is no list, so a file that
//!   is read while it is written is refused and not believed.
//! * **Backends that DNS names are addresses, and TLS asks for the name** ([`config::check`]): a certificate is for what the
//!   operator wrote, never for what an answer says, so whoever forges answers gains nothing.
//! * **Huge pages are off** for the process: with them resident memory grows in steps of 2 MiB, whatever is in use.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;
pub mod filter;
pub mod lifecycle;
pub mod listen;
pub mod net;
pub mod outcome;
pub mod proto;
pub mod proxy;
pub mod route;
pub mod state;
pub mod supervisor;
pub mod telemetry;
pub mod tunnel;
pub mod upstream;
