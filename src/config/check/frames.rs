//! Limits of frames, and what else cannot be where frames are not read.

use crate::config::file::{ByteRateWords, FrameLimitsWords, FrameRateWords, FramesWords};
use crate::config::reader::{Found, Reader};
use crate::config::{Frames, Inspect, Over, Place, defaults};
use crate::proto::limit::Limits;
use crate::proto::rate::Rate;

/// `inspect` is that of the route, if it is known. `None` when something is wrong, which has been reported.
pub fn frames(words: Found<FramesWords>, inspect: Option<Inspect>, reader: &mut Reader) -> Option<Frames> {
    let Some(words) = words.optional()? else { return Some(Frames::default()) };
    unread(&words.place, "`frames` are limited by their headers", inspect, reader)?;
    let words = words.value;
    let (to_backend, to_client) = (limits(words.to_backend, reader), limits(words.to_client, reader));
    Some(Frames { to_backend: to_backend?, to_client: to_client? })
}

/// Reports what needs to know of frames, where they are not read.
pub fn unread(place: &Place, what: &str, inspect: Option<Inspect>, reader: &mut Reader) -> Option<()> {
    if inspect != Some(Inspect::Off) {
        return Some(());
    }
    let message = format!("{what}, which are not read with `inspect` = \"off\"");
    reader.report(place, message, "remove it, or write inspect = \"observe\"");
    None
}

fn limits(words: Found<FrameLimitsWords>, reader: &mut Reader) -> Option<Option<Limits>> {
    let Some(words) = words.optional()? else { return Some(None) };
    let words = words.value;
    let place = words.message_max.place().cloned();
    let frame_max = words.frame_max.optional().map(|size| size.map(|size| size.value.0));
    let message_max = words.message_max.optional().map(|size| size.map(|size| size.value.0));
    if let (Some(Some(frame)), Some(Some(message)), Some(place)) = (frame_max, message_max, place)
        && frame > message
    {
        let remedy = "write a smaller `frame_max`, or a larger `message_max`";
        reader.report(&place, "no frame is larger than its message, and `frame_max` is", remedy);
    }
    let (frames, messages) = (rate(words.frames), rate(words.messages));
    let bytes_place = words.bytes.place().cloned();
    let (bytes, control) = (byte_rate(words.bytes), rate(words.control));
    let over = words.over.or(defaults::FRAMES_OVER);
    if let (Some(Some(frame)), Some(Some((_, burst))), Some(Over::Close)) = (frame_max, bytes, over)
        && let Some(place) = bytes_place.filter(|_| frame >= burst)
    {
        let message = "with over = \"close\" a frame larger than the burst of `bytes` never passes, and `frame_max` allows it";
        reader.warn(&place, message, "write a smaller `frame_max`, or a larger `burst`");
    }
    Some(Some(Limits {
        frame_max: frame_max?,
        message_max: message_max?,
        frames: frames?,
        messages: messages?,
        bytes: bytes?.map(|(rate, _)| rate),
        control: control?,
        waits: over? == Over::Wait,
    }))
}

fn rate(words: Found<FrameRateWords>) -> Option<Option<Rate>> {
    let Some(words) = words.optional()? else { return Some(None) };
    let per_second: u32 = words.value.per_second.written()?.value.into();
    let burst: u32 = words.value.burst.or(per_second)?;
    Some(Some(Rate::new(per_second.into(), burst.into())))
}

/// The rate of bytes, and its burst.
fn byte_rate(words: Found<ByteRateWords>) -> Option<Option<(Rate, u64)>> {
    let Some(words) = words.optional()? else { return Some(None) };
    let per_second = words.value.per_second.written()?.value.0;
    let burst = words.value.burst.optional()?.map_or(per_second, |burst| burst.value.0);
    Some(Some((Rate::new(per_second, burst), burst)))
}
