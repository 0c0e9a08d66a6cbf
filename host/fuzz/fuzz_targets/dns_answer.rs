//! A name server's answer of any content: addresses, no more than a bound, or an error, and in time.
#![no_main]

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use gauntlet::config::EndpointSpec;
use gauntlet::net::SystemResolver;
use gauntlet::net::names::look_up;
use libfuzzer_sys::fuzz_target;

/// What the name server says after the number of the question.
static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static RESOLVER: LazyLock<SystemResolver> = LazyLock::new(|| {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || answer(&socket));
    let path: PathBuf = std::env::temp_dir().join(format!("gauntlet-fuzz-{}.conf", std::process::id()));
    std::fs::write(&path, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    SystemResolver::of(&path, port)
});

fn answer(socket: &UdpSocket) {
    let mut question = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut question).unwrap();
        let answer = ANSWER.lock().unwrap();
        let (header, rest) = answer.split_at(answer.len().min(5));
        // The number and the question come back, or nobody would look at the rest.
        let mut text = question[..2].to_vec();
        text.push(header.first().unwrap_or(&0) | 0x80);
        text.push(*header.get(1).unwrap_or(&0));
        text.extend([0, 1]);
        text.extend((2..5).flat_map(|count| [0, *header.get(count).unwrap_or(&0)]));
        text.extend(&question[12..length]);
        text.extend(rest);
        let _ = socket.send_to(&text, from);
        // What nobody could read is not waited out.
        let mut failure = question[..length].to_vec();
        failure[2..4].copy_from_slice(&[0x81, 0x82]);
        let _ = socket.send_to(&failure, from);
    }
}

fuzz_target!(|data: &[u8]| {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());
    *ANSWER.lock().unwrap() = data.to_vec();
    let spec = match data.last().is_some_and(|byte| byte % 2 == 1) {
        true => EndpointSpec::DnsSrv {
            https: false,
            name: "_a._tcp.x.test.".to_owned(),
        },
        false => EndpointSpec::Dns {
            https: false,
            host: "x.test.".to_owned(),
            port: 1,
        },
    };
    RUNTIME.block_on(async {
        let resolver = RESOLVER.current().unwrap();
        let looked = look_up(&spec, &resolver, &[], |so_far| assert!(so_far.len() <= 256));
        let looked = tokio::time::timeout(Duration::from_secs(60), looked).await;
        if let Ok(addresses) = looked.expect("a look-up ends") {
            assert!((1..=256).contains(&addresses.len()));
        }
    });
});
