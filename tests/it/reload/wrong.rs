//! Files that are rejected: why, and that nothing changes.

use std::net::TcpListener;

use super::{listeners, open};
use crate::kit::{Backend, Client, Message, Proxy, Reloaded, plain};

/// A wrong file, what is said about it, where and what to do, in parts.
struct Wrong {
    file: String,
    said: [&'static str; 3],
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_says_why() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let (mut socket, _) = open(&proxy, "/").await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken_address = taken.local_addr().expect("a bound socket");
    let listener = |name: &str, keys: &str| format!("[[listeners]]\nname = \"{name}\"\n{keys}\n");
    let wrong = [
        Wrong {
            file: base.replace("pool = \"all\"", "pool = \"none\""),
            said: ["none", "longhaul.toml:6:8", "all"],
        },
        Wrong {
            file: base.clone() + "balanse = \"round-robin\"\n",
            said: ["balanse", "longhaul.toml:9:1", "balance"],
        },
        Wrong { file: base.clone() + "[", said: ["", "longhaul.toml:9:", ""] },
        Wrong {
            file: base.clone() + &listener("taken", &format!("address = \"{taken_address}\"")),
            said: ["cannot listen on", "longhaul.toml:11:11", "choose another port"],
        },
        Wrong {
            file: base.clone()
                + &listener(
                    "secure",
                    "address = \"127.0.0.1:0\"\ntls = { certificates = [{ cert = \"no.pem\", key = \"no.key\" }] }",
                ),
            said: ["no.pem", "longhaul.toml:12:", ""],
        },
    ];
    for Wrong { file, said: [problem, place, remedy] } in wrong {
        let rejected = proxy.reloads("rejected").await;
        proxy.rewrite(&file);
        let Reloaded::Rejected(said) = proxy.reload().await else { panic!("accepted: {file}") };
        let lines: Vec<&str> = said.lines().collect();
        let [of_problem, of_place, of_remedy] = lines[..] else { panic!("{said}") };
        assert!(of_problem.contains(problem), "{said}");
        assert!(of_place.contains(place), "{said}");
        assert!(!of_remedy.is_empty() && of_remedy.contains(remedy), "{said}");
        assert_eq!(proxy.generation().await, 1);
        proxy.wait_metric("longhaul_config_last_reload_successful", 0.0).await;
        assert!(proxy.reloads("rejected").await > rejected);
        socket.round_trip("still here").await;
        assert_eq!(open(&proxy, "/").await.1, "one");
    }
    let success = "longhaul_config_last_reload_success_timestamp_seconds";
    let before = proxy.metric(success).await;
    let change = proxy.change_to(&(base.clone() + &listener("more", "address = \"127.0.0.1:0\""))).await;
    assert_eq!(change, "listeners +1 (more)");
    proxy.wait_metric("longhaul_config_last_reload_successful", 1.0).await;
    assert!(proxy.metric(success).await > before);
    assert_eq!(proxy.generation().await, 2);
    assert_eq!(proxy.reloads("accepted").await, 1);
    socket.round_trip("still here").await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_not_text_changes_nothing() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let (mut socket, _) = open(&proxy, "/").await;
    std::fs::remove_file(proxy.file()).expect("a writable folder");
    let Reloaded::Rejected(said) = proxy.reload().await else { panic!("accepted") };
    assert!(said.starts_with("cannot read "), "{said}");
    proxy.rewrite_as_it_is([b"# caf\xe9\n", base.as_bytes()].concat());
    let Reloaded::Rejected(said) = proxy.reload().await else { panic!("accepted") };
    assert!(said.starts_with("this is not UTF-8\n") && said.ends_with("save the file as UTF-8"), "{said}");
    proxy.rewrite(&base);
    assert_eq!(proxy.reload().await, Reloaded::Unchanged);
    assert_eq!(proxy.metric("longhaul_config_last_reload_successful").await, 1.0);
    socket.round_trip("still here").await;
    assert_eq!(proxy.generation().await, 1);
}

/// One address is free and one is taken: neither is served.
#[tokio::test]
async fn of_several_new_listeners_all_are_bound_or_none() {
    let backend = Backend::echo("one").await;
    let base = plain(&[backend.address]);
    let proxy = Proxy::start(&base).await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let [free, taken_address] = [listeners::own_address(1), taken.local_addr().expect("a bound socket")];
    let both = format!(
        "{base}[[listeners]]\nname = \"free\"\naddress = \"{free}\"\n\
         [[listeners]]\nname = \"taken\"\naddress = \"{taken_address}\"\n"
    );
    proxy.rewrite(&both);
    assert!(matches!(proxy.reload().await, Reloaded::Rejected(_)));
    listeners::refuses(free).await;
    drop(taken);
    assert!(matches!(proxy.reload().await, Reloaded::Changed(2, _)));
    for address in [free, taken_address] {
        let (mut socket, _) = Client::connect(address).await.open("/", "example.com", "").await;
        assert_eq!(socket.receive().await, Message::text("one"));
    }
}
