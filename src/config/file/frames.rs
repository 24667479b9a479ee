//! The words of how much each side of a tunnel may send.

use crate::config::Over;
use crate::config::reader::words;
use crate::config::units::Size;
use crate::config::words::Number;

words! {
    /// `routes.frames`
    struct FramesWords = "`frames`" {
        /// How much clients may send; absent: as much as they do.
        optional to_backend: FrameLimitsWords,
        /// How much backends may send; absent: as much as they do.
        optional to_client: FrameLimitsWords,
    }
}

words! {
    /// `routes.frames.to_backend` and `to_client`
    struct FrameLimitsWords = "the limits of a direction" {
        /// Payload of a frame, 1B to 1TiB; absent: any.
        optional frame_max: Size<1, 1_099_511_627_776>,
        /// Payload of a message, all its fragments, 1B to 1TiB; absent: any.
        optional message_max: Size<1, 1_099_511_627_776>,
        /// How fast messages may come; absent: as fast as they do.
        optional messages: FrameRateWords,
        /// How fast frames of messages may come; absent: as fast as they do.
        optional frames: FrameRateWords,
        /// How fast bytes may come; absent: as fast as they do.
        optional bytes: ByteRateWords,
        /// How fast control frames may come; absent: as fast as they do.
        optional control: FrameRateWords,
        /// What is too fast must `"wait"`, or it ends the tunnel, `"close"`; control frames always do; default wait.
        optional over: Over,
    }
}

words! {
    /// How many frames or messages a second
    struct FrameRateWords = "a rate" {
        /// So many a second, 1 to 1,000,000.
        required per_second: Number<1, 1_000_000>,
        /// So many at once after a rest, 1 to 1,000,000; absent: as many as `per_second`.
        optional burst: Number<1, 1_000_000>,
    }
}

words! {
    /// How many bytes a second
    struct ByteRateWords = "a rate of bytes" {
        /// So many a second, 1B to 1TiB.
        required per_second: Size<1, 1_099_511_627_776>,
        /// So many at once after a rest, 1B to 1TiB; absent: as many as `per_second`.
        optional burst: Size<1, 1_099_511_627_776>,
    }
}
