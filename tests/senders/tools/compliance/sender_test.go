// Package compliance lets the public suite for remote-write senders judge a Prometheus whose writes go through the gateway.
//
// Takes programs from the environment: PROMETHEUS, and GAUNTLET, without which the same Prometheus is judged past the gateway.
// The suite brings what is scraped and the receiver. The one for receivers needs nothing of its own.
package compliance

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/compliance/remotewrite/sender"
)

const (
	// Of the gateway, on a busy machine.
	readyWithin = 90 * time.Second
	pause       = 50 * time.Millisecond

	token = "token-of-compliance"
	// Of the token.
	tokenSHA256 = "d67abea604abf3d591e94fc28708ec90ea6d5a3001a9eb586dcac6ca9f617cb3"
)

func TestSender(t *testing.T) {
	sender.RunTests(t, prometheus{}, sender.ComplianceTests())
}

type object = map[string]any

// prometheus sends through a gateway of its own, if there is one.
type prometheus struct{}

func (prometheus) Name() string { return "prometheus" }

func (prometheus) Run(ctx context.Context, options sender.Options) error {
	dir, err := os.MkdirTemp("", "gauntlet-compliance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	endpoint := options.RemoteWriteEndpointURL
	if program := os.Getenv("GAUNTLET"); program != "" {
		gateway, err := startGateway(program, dir, options)
		if err != nil {
			return err
		}
		defer gateway.stop()
		endpoint = gateway.endpoint
	}
	config := object{
		"global": object{"scrape_interval": "1s"},
		"remote_write": []any{object{
			"url":              endpoint,
			"protobuf_message": options.RemoteWriteMessage,
			"authorization":    object{"credentials": token},
			"send_exemplars":   true,
			"queue_config":     object{"retry_on_http_429": true},
			"metadata_config":  object{"send": true},
		}},
		"scrape_configs": []any{object{
			"job_name": options.ScrapeTargetJobName,
			"scrape_protocols": []string{
				"PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4",
			},
			"static_configs": []any{object{"targets": []string{options.ScrapeTargetHostPort}}},
		}},
	}
	file := filepath.Join(dir, "prometheus.yaml")
	if err := write(file, config); err != nil {
		return err
	}
	return sender.RunCommand(ctx, dir, nil, os.Getenv("PROMETHEUS"),
		// The start timestamps that the suite asks for are behind a feature.
		"--enable-feature=st-storage",
		"--web.listen-address=127.0.0.1:0", "--storage.tsdb.path="+filepath.Join(dir, "data"), "--config.file="+file)
}

// gateway is in front of one receiver.
type gateway struct {
	command  *exec.Cmd
	endpoint string
}

func startGateway(program, dir string, options sender.Options) (*gateway, error) {
	receiver, err := url.Parse(options.RemoteWriteEndpointURL)
	if err != nil {
		return nil, err
	}
	traffic, admin, err := twoFreeAddresses()
	if err != nil {
		return nil, err
	}
	path := receiver.Path
	if path == "" {
		path = "/"
	}
	upstream := object{"endpoints": []string{receiver.Scheme + "://" + receiver.Host}, "path": path}
	if options.RemoteWriteMessage == remote.WriteV2MessageType {
		upstream["remote_write_version"] = "2.0"
	}
	main := object{
		"remote_write": object{"listen_address": traffic, "insecure_http": true},
		"admin":        object{"listen_address": admin},
		"sandbox":      object{"cache_dir": filepath.Join(dir, "artefacts")},
		"upstreams":    object{"receiver": upstream},
		"tenant_files": []string{"tenant.yaml"},
	}
	tenant := object{
		"tenant":      "compliance",
		"credentials": []any{object{"bearer_token_sha256": tokenSHA256}},
		"upstreams":   []string{"receiver"},
		"policies":    []any{},
	}
	file := filepath.Join(dir, "gauntlet.yaml")
	if err := write(filepath.Join(dir, "tenant.yaml"), tenant); err != nil {
		return nil, err
	}
	if err := write(file, main); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "gauntlet.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(program, "serve", "--config.file="+file)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return nil, err
	}
	started := &gateway{command: command, endpoint: "http://" + traffic + "/api/v1/receive"}
	if err := waitReady("http://" + admin + "/-/ready"); err != nil {
		started.stop()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w; it said: %s", err, said)
	}
	return started, nil
}

func (g *gateway) stop() {
	_ = g.command.Process.Kill()
	_ = g.command.Wait()
}

func waitReady(address string) error {
	for begin := time.Now(); time.Since(begin) < readyWithin; time.Sleep(pause) {
		response, err := http.Get(address)
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("the gateway was not ready within %v", readyWithin)
}

func twoFreeAddresses() (string, string, error) {
	one, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer one.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer other.Close()
	return one.Addr().String(), other.Addr().String(), nil
}

// write gives JSON, which is YAML.
func write(file string, content object) error {
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
