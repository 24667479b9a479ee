//! A DNS server of the test's own, over UDP and TCP: it says what the test has told it to say, and counts what it is asked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// What fits into an answer over UDP; whoever wants more must come over TCP.
const UDP_BYTES_MAX: usize = 1232;

/// A server; it ends with its value.
pub struct Dns {
    /// Where it listens.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: Vec<JoinHandle<()>>,
}

/// What a server says when it is asked for something.
#[derive(Clone, Debug)]
pub enum Says {
    /// These records, with this time to live in seconds.
    Records(Vec<RData>, u32),
    /// That it is an alias of this name, with this time to live, and what is found there.
    Alias(&'static str, u32, Box<Says>),
    /// No records, and this code.
    Fails(ResponseCode),
    /// Nothing at all.
    Silence,
}

/// The name is there, and has nothing of that kind.
pub const NOTHING: Says = Says::Fails(ResponseCode::NoError);

#[derive(Default)]
struct Zone {
    says: HashMap<(Name, RecordType), Says>,
    asked: HashMap<(Name, RecordType), usize>,
}

impl Dns {
    /// A server that knows no name.
    pub async fn start() -> Dns {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            // The port may be taken over TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("a bound socket")).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("a bound socket");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let tasks =
            vec![tokio::spawn(over_udp(udp, zone.clone())), tokio::spawn(over_tcp(tcp, zone.clone()))];
        Dns { address, zone, tasks }
    }

    /// From now on it says this when asked for records of this kind.
    pub fn set(&self, name: &str, kind: RecordType, says: Says) {
        self.zone.lock().unwrap().says.insert((whole(name), kind), says);
    }

    /// From now on it says this of all addresses of a name.
    pub fn set_both(&self, name: &str, says: &Says) {
        for kind in [RecordType::A, RecordType::AAAA] {
            self.set(name, kind, says.clone());
        }
    }

    /// The addresses of a name, of both families, and their time to live in seconds.
    pub fn addresses(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        for (kind, is_v4) in [(RecordType::A, true), (RecordType::AAAA, false)] {
            let records: Vec<_> = addresses
                .iter()
                .filter(|address| address.is_ipv4() == is_v4)
                .map(|ip| RData::from(*ip))
                .collect();
            let says = if records.is_empty() { NOTHING } else { Says::Records(records, ttl) };
            self.set(name, kind, says);
        }
    }

    /// The services of a name: priority, weight, port and target.
    pub fn services(&self, name: &str, ttl: u32, services: &[(u16, u16, u16, &str)]) {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            RData::SRV(SRV::new(*priority, *weight, *port, whole(target)))
        };
        self.set(name, RecordType::SRV, Says::Records(services.iter().map(record).collect(), ttl));
    }

    /// How often it was asked for records of this kind.
    pub fn asked(&self, name: &str, kind: RecordType) -> usize {
        self.zone.lock().unwrap().asked.get(&(whole(name), kind)).copied().unwrap_or(0)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn whole(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    name.to_lowercase()
}

async fn over_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..length], &zone) {
            let mut bytes = answer.to_vec().expect("a message");
            if bytes.len() > UDP_BYTES_MAX {
                bytes = answer.truncate().to_vec().expect("a message");
            }
            let _ = socket.send_to(&bytes, from).await;
        }
    }
}

async fn over_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let zone = zone.clone();
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await.expect("a whole message");
                if let Some(answer) = answer(&question, &zone) {
                    let bytes = answer.to_vec().expect("a message");
                    let length = u16::try_from(bytes.len()).expect("a short message");
                    let _ = stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await;
                }
            }
        });
    }
}

/// What is said to a question; `None` is silence.
fn answer(question: &[u8], zone: &Mutex<Zone>) -> Option<Message> {
    let asked = Message::from_vec(question).expect("a message");
    let query = asked.queries.first().expect("a question").clone();
    let key = (query.name().to_lowercase(), query.query_type());
    let mut zone = zone.lock().unwrap();
    *zone.asked.entry(key.clone()).or_default() += 1;
    let says = zone.says.get(&key).cloned().unwrap_or(Says::Fails(ResponseCode::NXDomain));
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let name = query.name().clone();
    answer.add_query(query);
    say(says, name, &mut answer).then_some(answer)
}

/// Whether it says anything.
fn say(says: Says, name: Name, answer: &mut Message) -> bool {
    match says {
        Says::Records(records, ttl) => {
            answer.add_answers(records.into_iter().map(|data| Record::from_rdata(name.clone(), ttl, data)));
        }
        Says::Alias(target, ttl, says) => {
            answer.add_answer(Record::from_rdata(name, ttl, RData::CNAME(CNAME(whole(target)))));
            return say(*says, whole(target), answer);
        }
        Says::Fails(code) => answer.metadata.response_code = code,
        Says::Silence => return false,
    }
    true
}
