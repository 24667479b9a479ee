//! The words of what becomes of a route's requests.

use crate::config::reader::words;
use crate::config::syntax::{
    AnswerField, BodyText, FieldTemplate, FieldValue, FilePath, Location, Name, OwnField, PathPrefix,
    RedirectStatus, RequestField, ResponseField,
};
use crate::config::words::{Entries, List, Number};

words! {
    /// An entry of `split`
    struct ShareWords = "a share" {
        /// The pool that gets it, one of `[pools.NAME]`.
        required pool: Name,
        /// How many of the requests it gets, beside the weights of the others, 0 (none) to 1,000,000; default 1.
        optional weight: Number<0, 1_000_000>,
    }
}

words! {
    /// `replace_prefix`
    struct PrefixWords = "`replace_prefix`" {
        /// The beginning of the path as clients send it, whole segments, such as `/api`; `/` is that of every path.
        required from: PathPrefix,
        /// What stands there instead.
        required to: PathPrefix,
    }
}

words! {
    /// `request_headers`
    struct RequestHeadersWords = "`request_headers`" {
        /// Fields that get this one value, with variables such as `${client.address}`; absent: none.
        optional set: Entries<RequestField, FieldTemplate>,
        /// Fields that get one more line; absent: none.
        optional add: Entries<RequestField, FieldTemplate>,
        /// Fields that backends do not get; absent: none.
        optional remove: List<RequestField, 1>,
    }
}

words! {
    /// `response_headers`
    struct ResponseHeadersWords = "`response_headers`" {
        /// Fields that get this one value, with variables such as `${request.id}`; absent: none.
        optional set: Entries<ResponseField, FieldTemplate>,
        /// Fields that get one more line; absent: none.
        optional add: Entries<AnswerField, FieldTemplate>,
        /// Fields that clients do not get; absent: none.
        optional remove: List<ResponseField, 1>,
    }
}

words! {
    /// `redirect`
    struct RedirectWords = "`redirect`" {
        /// Where clients are sent, a URL or a path, such as `https://${host}${path}${query}`.
        required to: Location,
        /// 301, 302, 303, 307 or 308; default 307.
        optional status: RedirectStatus,
    }
}

words! {
    /// `respond`
    struct RespondWords = "`respond`" {
        /// The status of the answer, 200 to 599.
        required status: Number<200, 599>,
        /// Fields of the answer, with variables such as `${request.id}`; absent: none.
        optional headers: Entries<OwnField, FieldTemplate>,
        /// The answer's text, up to 1 MiB; absent: none.
        optional body: BodyText,
        /// The file whose content is the answer's body, up to 1 MiB; absent: `body` says it.
        optional file: FilePath,
        /// What `body` or `file` is; absent: `text/plain; charset=utf-8`.
        optional content_type: FieldValue,
    }
}
