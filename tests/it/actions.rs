//! What becomes of the requests that a route takes.

mod headers;
mod own;
mod prefix;
mod split;

use crate::kit::{Backend, Message};

/// A backend that says its name, as an answer or as a tunnel's first message.
async fn named(name: &'static str) -> Backend {
    Backend::calls(move |call| async move {
        if call.head.get("upgrade").is_some() {
            let mut socket = call.accept("").await;
            socket.send(&Message::text(name)).await;
            return socket.echo().await;
        }
        call.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())).await;
    })
    .await
}

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: chat.example.com\r\nConnection: close\r\n{lines}\r\n")
}
