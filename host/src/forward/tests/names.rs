//! Endpoints that are found by name, against a name server of our own.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::*;
use crate::net::SystemResolver;

type Question = (String, RecordType);

/// What the name server knows.
#[derive(Default)]
struct Zone {
    records: HashMap<Question, Vec<RData>>,
    /// Questions that are never answered.
    silent: HashSet<Question>,
    /// Questions that are answered with a failure of the server.
    failing: HashSet<Question>,
    /// All of them are.
    fails: bool,
}

struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    /// Has a `resolv.conf` that leads here.
    folder: tempfile::TempDir,
    _task: JoinSet<()>,
}

impl NameServer {
    async fn new() -> Self {
        Self::on("127.0.0.1:0").await
    }

    async fn on(address: &str) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let known = Arc::clone(&zone);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut packet = [0; 2048];
            loop {
                let (n, from) = socket.recv_from(&mut packet).await.unwrap();
                let query = Message::from_vec(&packet[..n]).unwrap();
                let reply = answer(&query, &known.lock().unwrap());
                if let Some(reply) = reply {
                    socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        let server = Self {
            address,
            zone,
            folder: tempfile::tempdir().unwrap(),
            _task: task,
        };
        server.write_resolv_conf(&format!("nameserver {}\n", address.ip()));
        server
    }

    fn write_resolv_conf(&self, text: &str) {
        std::fs::write(self.folder.path().join("resolv.conf"), text).unwrap();
    }

    fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.zone.lock().unwrap()
    }

    fn set(&self, name: &str, kind: RecordType, data: Vec<RData>) {
        let mut zone = self.zone();
        zone.fails = false;
        zone.records.insert((name.to_owned(), kind), data);
    }

    fn set_ips(&self, name: &str, ips: &[IpAddr]) {
        self.set(name, RecordType::A, ips.iter().copied().map(RData::from).collect());
    }

    fn fail(&self) {
        self.zone().fails = true;
    }

    /// Upstreams that ask this server.
    fn stage(&self, config: config::Upstream) -> Stage {
        let path = self.folder.path().join("resolv.conf");
        let metrics = Arc::new(Metrics::new());
        let resolver = SystemResolver::of(&path, self.address.port());
        let upstreams = Upstreams::with_resolver(Arc::clone(&metrics), 1024, resolver);
        let soft = apply(&upstreams, config);
        Stage {
            metrics,
            upstreams,
            soft,
        }
    }
}

fn answer(query: &Message, zone: &Zone) -> Option<Message> {
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.add_queries(query.queries.clone());
    let question = &query.queries[0];
    let key = (question.name().to_ascii(), question.query_type());
    if zone.silent.contains(&key) {
        return None;
    }
    if zone.fails || zone.failing.contains(&key) {
        reply.metadata.response_code = ResponseCode::ServFail;
        return Some(reply);
    }
    for data in zone.records.get(&key).into_iter().flatten() {
        reply.add_answer(Record::from_rdata(question.name().clone(), 60, data.clone()));
    }
    Some(reply)
}

/// An SRV record that leads to `receiver` by the name of `target`.
fn srv(receiver: &Receiver, target: &str) -> RData {
    let target = Name::from_ascii(target).unwrap();
    RData::SRV(SRV::new(0, 0, receiver.address.port(), target))
}

fn dns_srv(name: &str) -> config::Upstream {
    config(vec![EndpointSpec::DnsSrv {
        https: false,
        name: name.to_owned(),
    }])
}

fn urls(receivers: &[&Receiver]) -> Vec<String> {
    let mut urls: Vec<_> = receivers.iter().map(|r| format!("http://{}", r.address)).collect();
    urls.sort();
    urls
}

fn dns(port: u16) -> config::Upstream {
    config(vec![EndpointSpec::Dns {
        https: false,
        host: "receiver.test.".to_owned(),
        port,
    }])
}

/// Waits until two more rounds of look-ups have ended: the second began after the call.
async fn looked_up_anew(upstream: &Upstream) {
    let mut rounds = upstream.rounds.subscribe();
    let now = *rounds.borrow();
    tokio::time::timeout(LONG, rounds.wait_for(|n| *n >= now + 2))
        .await
        .unwrap()
        .unwrap();
}

fn addresses(stage: &Stage) -> Vec<String> {
    let status = stage.upstreams.status().remove(0);
    let mut addresses: Vec<_> = status.endpoints.into_iter().map(|e| e.address).collect();
    addresses.sort();
    addresses
}

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test]
async fn the_first_write_waits_for_the_first_lookup() {
    let receiver = Receiver::new(OK).await;
    let names = NameServer::new().await;
    names.set_ips("receiver.test.", &[ONE]);
    let stage = names.stage(dns(receiver.address.port()));
    assert_eq!(stage.send().await, Ok(()));
}

#[tokio::test]
async fn a_refresh_adds_and_removes_endpoints() {
    let mut one = Receiver::new(OK).await;
    let port = one.address.port();
    let mut two = Receiver::on(&format!("127.0.0.2:{port}"), OK).await;
    let names = NameServer::new().await;
    names.set_ips("receiver.test.", &[ONE]);
    let stage = names.stage(dns(port));
    stage.send().await.unwrap();
    assert_eq!(one.count(), 1);

    names.set_ips("receiver.test.", &[ONE, TWO]);
    looked_up_anew(&stage.soft).await;
    assert_eq!(
        addresses(&stage),
        [format!("http://127.0.0.1:{port}"), format!("http://127.0.0.2:{port}")]
    );
    assert_eq!(stage.healthy_metric(two.address), Some(1.0));
    assert_eq!(one.connections(), 1, "the endpoint that stayed keeps its connection");

    names.set_ips("receiver.test.", &[TWO]);
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), [format!("http://127.0.0.2:{port}")]);
    assert_eq!(stage.healthy_metric(one.address), None);
    one.count();
    for _ in 0..5 {
        stage.send().await.unwrap();
    }
    assert_eq!((one.count(), two.count()), (0, 5));
    // Receivers know themselves by their name, not by the address it has today.
    stage.send().await.unwrap();
    assert_eq!(
        two.next().await.headers["host"],
        format!("receiver.test:{port}").as_str()
    );
}

#[tokio::test]
async fn a_failed_and_an_empty_lookup_keep_what_was_there() {
    let receiver = Receiver::new(OK).await;
    let names = NameServer::new().await;
    names.set_ips("receiver.test.", &[ONE]);
    let stage = names.stage(dns(receiver.address.port()));
    stage.send().await.unwrap();
    let before = addresses(&stage);

    names.fail();
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), before);
    assert!(stage.upstreams.status()[0].lookup_error.is_some());

    names.set_ips("receiver.test.", &[]);
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), before);
    stage.send().await.unwrap();

    names.set_ips("receiver.test.", &[ONE]);
    looked_up_anew(&stage.soft).await;
    assert_eq!(stage.upstreams.status()[0].lookup_error, None);
}

#[tokio::test]
async fn a_first_lookup_that_fails_is_no_endpoint_until_one_succeeds() {
    let receiver = Receiver::new(OK).await;
    let names = NameServer::new().await;
    names.fail();
    let stage = names.stage(dns(receiver.address.port()));
    assert_eq!(stage.send().await, Err(ForwardError::NoEndpoint));
    assert!(stage.upstreams.status()[0].lookup_error.is_some());
    names.set_ips("receiver.test.", &[ONE]);
    looked_up_anew(&stage.soft).await;
    assert_eq!(stage.send().await, Ok(()));
}

#[tokio::test]
async fn srv_records_name_hosts_and_ports() {
    let (one, two) = (Receiver::new(OK).await, Receiver::new(OK).await);
    let names = NameServer::new().await;
    let targets = vec![srv(&one, "r-0.test."), srv(&two, "r-1.test."), srv(&one, "gone.test.")];
    names.set("_remote-write._tcp.test.", RecordType::SRV, targets);
    names.set_ips("r-0.test.", &[ONE]);
    names.set_ips("r-1.test.", &[ONE]);
    let mut stage_config = dns_srv("_remote-write._tcp.test.");
    let stage = names.stage(stage_config.clone());
    stage.send().await.unwrap();
    // One target without an address does not hide the others.
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), urls(&[&one, &two]));

    // A new configuration starts with what the old one has found.
    names.fail();
    stage_config.path = "/new".to_owned();
    let changed = apply(&stage.upstreams, stage_config);
    changed.send(&outgoing(), Instant::now() + LONG).await.unwrap();
}

#[tokio::test]
async fn a_name_with_an_underscore_is_a_name() {
    let receiver = Receiver::new(OK).await;
    let names = NameServer::new().await;
    for name in ["tasks.mon_receive", "thanos_receive"] {
        names.set_ips(&format!("{name}."), &[ONE]);
        let stage = names.stage(config(vec![EndpointSpec::Dns {
            https: false,
            host: name.to_owned(),
            port: receiver.address.port(),
        }]));
        assert_eq!(stage.send().await, Ok(()), "{name}");
    }
    names.set(
        "_w._tcp.mon_r.test.",
        RecordType::SRV,
        vec![srv(&receiver, "r_0.test.")],
    );
    names.set_ips("r_0.test.", &[ONE]);
    let stage = names.stage(dns_srv("_w._tcp.mon_r.test."));
    assert_eq!(stage.send().await, Ok(()));
}

#[tokio::test]
async fn what_gets_no_answer_does_not_delay_what_gets_one() {
    let (one, two) = (Receiver::new(OK).await, Receiver::new(OK).await);
    let names = NameServer::new().await;
    let targets = vec![srv(&one, "r-0.test."), srv(&two, "r-1.test."), srv(&one, "mute.test.")];
    names.set("_w._tcp.test.", RecordType::SRV, targets);
    for (name, kind) in [
        ("mute.test.", RecordType::A),
        ("mute.test.", RecordType::AAAA),
        ("r-1.test.", RecordType::AAAA),
        ("mute.", RecordType::A),
    ] {
        names.zone().silent.insert((name.to_owned(), kind));
    }
    names.set_ips("r-0.test.", &[ONE]);
    names.set_ips("r-1.test.", &[ONE]);
    let mut behind_a_mute_one = dns_srv("_w._tcp.test.");
    let mute = EndpointSpec::Dns {
        https: false,
        host: "mute.".to_owned(),
        port: 1,
    };
    behind_a_mute_one.endpoints.insert(0, mute);
    let stage = names.stage(behind_a_mute_one);
    assert_eq!(stage.send().await, Ok(()));
    let mut changes = stage.soft.rounds.subscribe();
    let both = changes.wait_for(|_| addresses(&stage).len() == 2);
    let rounds = *tokio::time::timeout(LONG, both).await.unwrap().unwrap();
    assert_eq!(addresses(&stage), urls(&[&one, &two]));
    assert_eq!(rounds, 0, "nobody waited for the end of the round");
}

#[tokio::test]
async fn a_target_that_cannot_be_looked_up_stays_and_one_that_has_no_address_goes() {
    let (one, two) = (Receiver::new(OK).await, Receiver::new(OK).await);
    let names = NameServer::new().await;
    let targets = vec![srv(&one, "r-0.test."), srv(&two, "r-1.test.")];
    names.set("_w._tcp.test.", RecordType::SRV, targets);
    names.set_ips("r-0.test.", &[ONE]);
    names.set_ips("r-1.test.", &[ONE]);
    let stage = names.stage(dns_srv("_w._tcp.test."));
    looked_up_anew(&stage.soft).await;
    let failing = ("r-1.test.".to_owned(), RecordType::A);
    names.zone().failing.insert(failing.clone());
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), urls(&[&one, &two]));
    names.zone().failing.remove(&failing);
    names.set_ips("r-1.test.", &[]);
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), urls(&[&one]));
}

#[tokio::test]
async fn a_changed_resolv_conf_is_read_again_and_one_that_cannot_be_used_is_not() {
    let before = NameServer::new().await;
    let port = before.address.port();
    let after = NameServer::on(&format!("127.0.0.2:{port}")).await;
    before.set_ips("receiver.test.", &[ONE]);
    after.set_ips("receiver.test.", &[TWO]);
    let stage = before.stage(dns(7));
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), ["http://127.0.0.1:7"]);

    before.write_resolv_conf("nameserver 127.0.0.2\n");
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), ["http://127.0.0.2:7"]);

    before.write_resolv_conf("nameserver\n");
    after.set_ips("receiver.test.", &[ONE, TWO]);
    looked_up_anew(&stage.soft).await;
    assert_eq!(addresses(&stage), ["http://127.0.0.1:7", "http://127.0.0.2:7"]);

    // A generation that comes now begins with the name servers that are asked.
    let another = config::Upstream {
        path: "/new".to_owned(),
        ..dns(7)
    };
    apply(&stage.upstreams, another);
}

#[tokio::test]
async fn the_lookups_end_with_their_upstream() {
    let names = NameServer::new().await;
    names.set_ips("receiver.test.", &[ONE]);
    let stage = names.stage(dns(1));
    looked_up_anew(&stage.soft).await;
    let task = stage.soft.lookups.get().unwrap().clone();
    assert!(!task.is_finished());
    stage.upstreams.apply(&std::collections::BTreeMap::new()).unwrap();
    tokio::time::timeout(LONG, async {
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_static_name_is_looked_up_on_connect_and_every_address_is_tried() {
    // Where `localhost` is ::1 as well, nobody listens there.
    let mut receiver = Receiver::new(OK).await;
    let port = receiver.address.port();
    let stage = Stage::new(config(vec![EndpointSpec::Static {
        https: false,
        host: "localhost".to_owned(),
        port,
    }]));
    assert_eq!(stage.send().await, Ok(()));
    let seen = receiver.next().await;
    assert_eq!(seen.headers["host"], format!("localhost:{port}").as_str());
}
