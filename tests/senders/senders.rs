//! The senders: real programs, each with the configuration that docs/senders.md shows.
//!
//! Takes where to scrape and where to send; gives running processes and what each of them has sent by its own account: a
//! Prometheus' own storage, and for those that store nothing what they sent to a recorder at the same time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gauntlet_tests::process::{Process, provisioned, start_mortal};

use crate::recorder::Recorder;
use crate::storage::{self, Labels, Storage, Window};

pub const PROMETHEUS: &str = "3.15.1";
pub const VMAGENT: &str = "1.151.0";
pub const COLLECTOR: &str = "0.165.0";
pub const TELEGRAF: &str = "1.37.2";

/// A sender of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Its tenant, its label `sender` and a part of file names.
    pub id: &'static str,
    pub title: &'static str,
    pub kind: Kind,
    /// Remote write 2.0.
    pub v2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's 2.42.
    Prometheus2,
    Prometheus3,
    Agent,
    /// With so many queues; by default two for each processor.
    Vmagent(Option<u32>),
    Collector,
    Telegraf,
}

pub const PLANS: [Plan; 9] = [
    plan("prometheus2", "Prometheus 2.42", Kind::Prometheus2, false),
    plan("prometheus3", "Prometheus 3.15", Kind::Prometheus3, false),
    plan("prometheus3-2.0", "Prometheus 3.15, 2.0", Kind::Prometheus3, true),
    plan("agent", "Prometheus 3.15, agent", Kind::Agent, false),
    plan("vmagent", "vmagent, labels sorted", Kind::Vmagent(None), false),
    plan("vmagent-1", "vmagent, one queue", Kind::Vmagent(Some(1)), false),
    plan("collector", "OpenTelemetry collector", Kind::Collector, false),
    plan("collector-2.0", "OpenTelemetry collector, 2.0", Kind::Collector, true),
    plan("telegraf", "Telegraf", Kind::Telegraf, false),
];

const fn plan(id: &'static str, title: &'static str, kind: Kind, v2: bool) -> Plan {
    Plan { id, title, kind, v2 }
}

/// Where a sender sends the same to.
pub struct Output<'a> {
    pub name: &'static str,
    pub url: String,
    pub token: Option<String>,
    pub ca: Option<&'a Path>,
    pub v2: bool,
}

/// What all senders of a run are given.
pub struct Field<'a> {
    pub dir: &'a Path,
    pub logs: &'a Path,
    pub exporter: String,
    /// Hears what senders send that store nothing, if anybody wants to know it.
    pub recorder: Option<&'a Recorder>,
    /// A page of so many gauges is scraped too.
    pub many: Option<u32>,
}

pub struct Sender {
    pub plan: Plan,
    pub process: Process,
    data: PathBuf,
}

impl Plan {
    /// Whether what it sent can be read from its own storage.
    fn stores(&self) -> bool {
        matches!(self.kind, Kind::Prometheus2 | Kind::Prometheus3 | Kind::Agent)
    }

    /// Rows of the table, each with the `job` whose series it counts; without one it counts all.
    pub fn parts(&self) -> Vec<(String, Option<&'static str>)> {
        if self.kind != Kind::Prometheus3 {
            return vec![(self.title.to_owned(), None)];
        }
        let mut jobs = vec![("", "known"), (", native histograms", "native")];
        if self.v2 {
            jobs.push((", custom buckets", "custom-buckets"));
        }
        let row = |(what, job)| (format!("{}{what}", self.title), Some(job));
        jobs.into_iter().map(row).collect()
    }

    /// Where a recorder hears what it sends.
    pub fn truth_path(&self) -> String {
        format!("/truth/{}", self.id)
    }

    /// Starts it, sending to `outputs`; `address` is its own.
    ///
    /// # Errors
    /// If the program or a file cannot be had.
    pub fn start(self, field: &Field<'_>, address: &str, mut outputs: Vec<Output<'_>>) -> Result<Sender> {
        if let (false, Some(recorder)) = (self.stores(), field.recorder) {
            outputs.push(Output {
                name: "truth",
                url: format!("http://{}{}", recorder.address, self.truth_path()),
                token: None,
                ca: None,
                v2: false,
            });
        }
        let data = field.dir.join("data").join(self.id);
        fs::create_dir_all(&data)?;
        let file = field.dir.join(format!("{}.conf", self.id));
        fs::write(&file, self.configuration(field, address, &outputs))?;
        let argv = self.argv(&file, &data, address, &outputs)?;
        Ok(Sender {
            plan: self,
            process: start_mortal(self.id, field.logs, argv)?,
            data,
        })
    }

    fn configuration(&self, field: &Field<'_>, address: &str, outputs: &[Output<'_>]) -> String {
        match self.kind {
            Kind::Prometheus2 | Kind::Prometheus3 | Kind::Agent => {
                format!("{}{}", self.scrapes(field), self.remote_writes(outputs))
            }
            Kind::Vmagent(_) => self.scrapes(field),
            Kind::Collector => self.collector(field, address, outputs),
            Kind::Telegraf => self.telegraf(field, outputs),
        }
    }

    fn argv(&self, file: &Path, data: &Path, address: &str, outputs: &[Output<'_>]) -> Result<Vec<String>> {
        let (file, data) = (file.display(), data.display());
        let program = |name, version| Ok::<_, anyhow::Error>(provisioned(name, version)?.display().to_string());
        Ok(match self.kind {
            Kind::Prometheus2 => vec![
                "prometheus".to_owned(),
                format!("--config.file={file}"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={address}"),
                "--web.console.libraries=/usr/share/prometheus/console_libraries".to_owned(),
                "--enable-feature=exemplar-storage".to_owned(),
            ],
            Kind::Prometheus3 => vec![
                program("prometheus", PROMETHEUS)?,
                format!("--config.file={file}"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={address}"),
                "--enable-feature=exemplar-storage".to_owned(),
            ],
            Kind::Agent => vec![
                program("prometheus", PROMETHEUS)?,
                "--agent".to_owned(),
                format!("--config.file={file}"),
                format!("--storage.agent.path={data}"),
                format!("--web.listen-address={address}"),
                "--enable-feature=exemplar-storage".to_owned(),
            ],
            Kind::Vmagent(queues) => {
                let mut argv = vec![
                    program("vmagent", VMAGENT)?,
                    format!("-promscrape.config={file}"),
                    format!("-remoteWrite.tmpDataPath={data}"),
                    format!("-httpListenAddr={address}"),
                ];
                argv.push(match queues {
                    Some(queues) => format!("-remoteWrite.queues={queues}"),
                    // It sends labels unsorted, and Thanos refuses those: the control would store nothing.
                    None => "-sortLabels".to_owned(),
                });
                argv.extend(vmagent_urls(outputs));
                argv
            }
            Kind::Collector => {
                let mut argv = vec![program("collector", COLLECTOR)?, format!("--config=file:{file}")];
                let gates = [RETRY_ON_429, SENDS_2];
                let gates = if self.v2 { &gates[..] } else { &gates[..1] };
                argv.push(format!("--feature-gates={}", gates.join(",")));
                argv
            }
            Kind::Telegraf => vec![program("telegraf", TELEGRAF)?, "--config".to_owned(), file.to_string()],
        })
    }

    /// The same text for Prometheus, vmagent and the collector.
    fn scrapes(&self, field: &Field<'_>) -> String {
        let id = self.id;
        let target = format!(
            "static_configs: [{{targets: [\"{}\"], labels: {{sender: \"{id}\"}}}}]",
            field.exporter
        );
        let mut text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 900ms}}\nscrape_configs:\n  \
             - {{job_name: known, metrics_path: /text/{id}, {target}}}\n"
        );
        if matches!(self.kind, Kind::Prometheus3 | Kind::Agent) {
            text += &format!(
                "  - {{job_name: native, metrics_path: /native/{id}, scrape_native_histograms: true, {target}}}\n"
            );
        }
        // Prometheus sends no custom buckets by 1.0.
        if self.kind == Kind::Prometheus3 && self.v2 {
            text += &format!(
                "  - {{job_name: custom-buckets, metrics_path: /text/{id}-custom, convert_classic_histograms_to_nhcb: \
                 true, {target}}}\n"
            );
        }
        if let Some(many) = field.many {
            text += &format!("  - {{job_name: many, metrics_path: /many/{many}, {target}}}\n");
        }
        text
    }

    fn remote_writes(&self, outputs: &[Output<'_>]) -> String {
        let mut text = "remote_write:\n".to_owned();
        for output in outputs {
            text += &format!("  - name: {}\n    url: {}\n", output.name, output.url);
            if let Some(token) = &output.token {
                text += &format!("    authorization: {{credentials: \"{token}\"}}\n");
            }
            if let Some(ca) = output.ca {
                text += &format!("    tls_config: {{ca_file: {}}}\n", ca.display());
            }
            if output.v2 {
                text += "    protobuf_message: io.prometheus.write.v2.Request\n";
            }
            text += "    send_exemplars: true\n    send_native_histograms: true\n";
            text += "    queue_config: {retry_on_http_429: true}\n";
        }
        text
    }

    fn collector(&self, field: &Field<'_>, address: &str, outputs: &[Output<'_>]) -> String {
        let mut text = "receivers:\n  prometheus:\n    config:\n".to_owned();
        for line in self.scrapes(field).lines() {
            text += &format!("      {line}\n");
        }
        text += "exporters:\n";
        for output in outputs {
            text += &format!(
                "  prometheusremotewrite/{}:\n    endpoint: {}\n",
                output.name, output.url
            );
            if let Some(token) = &output.token {
                text += &format!("    headers: {{Authorization: \"Bearer {token}\"}}\n");
            }
            text += &match output.ca {
                Some(ca) => format!("    tls: {{ca_file: {}}}\n", ca.display()),
                None => "    tls: {insecure: true}\n".to_owned(),
            };
            if output.v2 {
                text += "    protobuf_message: io.prometheus.write.v2.Request\n";
            }
            text += "    target_info: {enabled: false}\n";
            // 0: never given up. One consumer, or newer writes overtake older ones.
            text += "    retry_on_failure: {initial_interval: 500ms, max_interval: 5s, max_elapsed_time: 0s}\n";
            text += "    remote_write_queue: {queue_size: 10000, num_consumers: 1}\n";
        }
        let names: Vec<String> = outputs
            .iter()
            .map(|output| format!("prometheusremotewrite/{}", output.name))
            .collect();
        let (host, port) = address.rsplit_once(':').expect("a port");
        text += &format!(
            "service:\n  telemetry:\n    metrics:\n      readers: [{{pull: {{exporter: {{prometheus: {{host: \
             \"{host}\", port: {port}}}}}}}}}]\n  pipelines:\n    metrics: {{receivers: [prometheus], exporters: \
             [{}]}}\n",
            names.join(", ")
        );
        text
    }

    fn telegraf(&self, field: &Field<'_>, outputs: &[Output<'_>]) -> String {
        let id = self.id;
        let url = |path: String| format!("\"http://{}{path}\"", field.exporter);
        let mut urls = vec![url(format!("/text/{id}"))];
        urls.extend(field.many.map(|many| url(format!("/many/{many}"))));
        let mut text = format!(
            "[global_tags]\n  sender = \"{id}\"\n[agent]\n  interval = \"1s\"\n  flush_interval = \"1s\"\n  \
             metric_batch_size = 5000\n  metric_buffer_limit = 1000000\n  omit_hostname = true\n\
             [[inputs.prometheus]]\n  urls = [{}]\n  metric_version = 2\n  timeout = \"900ms\"\n",
            urls.join(", ")
        );
        for output in outputs {
            text += &format!(
                "[[outputs.http]]\n  alias = \"{}\"\n  url = \"{}\"\n  data_format = \"prometheusremotewrite\"\n",
                output.name, output.url
            );
            if let Some(ca) = output.ca {
                text += &format!("  tls_ca = \"{}\"\n", ca.display());
            }
            text += "  non_retryable_statuscodes = [400, 409, 415]\n  [outputs.http.headers]\n    \
                     Content-Type = \"application/x-protobuf\"\n    Content-Encoding = \"snappy\"\n    \
                     X-Prometheus-Remote-Write-Version = \"0.1.0\"\n";
            if let Some(token) = &output.token {
                text += &format!("    Authorization = \"Bearer {token}\"\n");
            }
        }
        text
    }
}

const RETRY_ON_429: &str = "exporter.prometheusremotewritexporter.RetryOn429";
const SENDS_2: &str = "exporter.prometheusremotewritexporter.enableSendingRW2";

/// A token or an authority that one URL needs is given to all: the others look at neither.
fn vmagent_urls(outputs: &[Output<'_>]) -> Vec<String> {
    let mut argv: Vec<String> = outputs
        .iter()
        .map(|output| format!("-remoteWrite.url={}", output.url))
        .collect();
    for output in outputs {
        argv.extend(
            output
                .token
                .iter()
                .map(|token| format!("-remoteWrite.bearerToken={token}")),
        );
        argv.extend(output.ca.map(|ca| format!("-remoteWrite.tlsCAFile={}", ca.display())));
    }
    argv
}

impl Sender {
    /// Where it keeps what it keeps.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it scraped in the window, by its own account.
    ///
    /// # Errors
    /// If its storage cannot be read.
    pub fn truth(&self, recorder: &Recorder, window: Window) -> Result<Storage> {
        let storage = if self.plan.stores() {
            storage::read(&[self.data.join("wal")], window)?
        } else {
            recorder.storage(&self.plan.truth_path(), window)
        };
        Ok(own(storage, self.plan.id))
    }
}

/// The series of one sender, among others'.
pub fn own(mut storage: Storage, id: &str) -> Storage {
    storage.retain(|labels: &Labels, _| labels.get("sender").is_some_and(|sender| sender == id));
    storage
}
