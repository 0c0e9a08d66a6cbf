//! Endpoints that are found by name, against a name server of our own.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::*;

/// What the name server knows; `None` is a server that fails.
type Zone = Arc<Mutex<Option<HashMap<(String, RecordType), Vec<RData>>>>>;

struct NameServer {
    address: SocketAddr,
    zone: Zone,
    _task: JoinSet<()>,
}

impl NameServer {
    async fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Zone = Arc::new(Mutex::new(Some(HashMap::new())));
        let known = Arc::clone(&zone);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut packet = [0; 2048];
            loop {
                let (n, from) = socket.recv_from(&mut packet).await.unwrap();
                let query = Message::from_vec(&packet[..n]).unwrap();
                let reply = answer(&query, &known).to_vec().unwrap();
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        Self {
            address,
            zone,
            _task: task,
        }
    }

    fn set(&self, name: &str, kind: RecordType, data: Vec<RData>) {
        let mut zone = self.zone.lock().unwrap();
        zone.get_or_insert_default().insert((name.to_owned(), kind), data);
    }

    fn set_ips(&self, name: &str, ips: &[IpAddr]) {
        self.set(name, RecordType::A, ips.iter().copied().map(RData::from).collect());
    }

    fn fail(&self) {
        *self.zone.lock().unwrap() = None;
    }

    /// Upstreams that ask this server.
    fn stage(&self, config: config::Upstream) -> Stage {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.address.port();
        let server = NameServerConfig::new(self.address.ip(), true, vec![connection]);
        let mut builder = Resolver::builder_with_config(
            ResolverConfig::from_name_servers(vec![server]),
            TokioRuntimeProvider::default(),
        );
        *builder.options_mut() = crate::net::names::options(builder.options_mut().clone());
        let metrics = Arc::new(Metrics::new());
        let upstreams = Upstreams::new(Arc::clone(&metrics));
        assert!(upstreams.resolver.set(builder.build().unwrap()).is_ok());
        let soft = apply(&upstreams, config);
        Stage {
            metrics,
            upstreams,
            soft,
        }
    }
}

fn answer(query: &Message, zone: &Zone) -> Message {
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.add_queries(query.queries.clone());
    let question = &query.queries[0];
    let zone = zone.lock().unwrap();
    match &*zone {
        None => reply.metadata.response_code = ResponseCode::ServFail,
        Some(zone) => {
            let key = (question.name().to_ascii(), question.query_type());
            for data in zone.get(&key).into_iter().flatten() {
                reply.add_answer(Record::from_rdata(question.name().clone(), 60, data.clone()));
            }
        }
    }
    reply
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
    status.endpoints.into_iter().map(|e| e.address).collect()
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
    let srv = |receiver: &Receiver, target: &str| {
        let target = Name::from_ascii(target).unwrap();
        RData::SRV(SRV::new(0, 0, receiver.address.port(), target))
    };
    let targets = vec![srv(&one, "r-0.test."), srv(&two, "r-1.test."), srv(&one, "gone.test.")];
    names.set("_remote-write._tcp.test.", RecordType::SRV, targets);
    names.set_ips("r-0.test.", &[ONE]);
    names.set_ips("r-1.test.", &[ONE]);
    let mut stage_config = config(vec![EndpointSpec::DnsSrv {
        https: false,
        name: "_remote-write._tcp.test.".to_owned(),
    }]);
    let stage = names.stage(stage_config.clone());
    stage.send().await.unwrap();
    // One target without an address does not hide the others.
    let mut found = addresses(&stage);
    found.sort();
    let mut expected = [format!("http://{}", one.address), format!("http://{}", two.address)];
    expected.sort();
    assert_eq!(found, expected);

    // A new configuration starts with what the old one has found.
    names.fail();
    stage_config.path = "/new".to_owned();
    let changed = apply(&stage.upstreams, stage_config);
    changed.send(&outgoing(), Instant::now() + LONG).await.unwrap();
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
