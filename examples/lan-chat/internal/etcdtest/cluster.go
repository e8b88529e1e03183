// Package etcdtest starts real etcd servers on loopback for the integration tests.
package etcdtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lan-chat/internal/etcd"
)

// Cluster is an etcd of this test.
type Cluster struct {
	Endpoints []string
	processes []*exec.Cmd
}

// Start starts a cluster of some members, which ends with the test.
//
// It skips the test where LAN_CHAT_ETCD_PROGRAM does not name etcd; `make integration` always does.
func Start(t *testing.T, members int) *Cluster {
	t.Helper()
	program := os.Getenv("LAN_CHAT_ETCD_PROGRAM")
	if program == "" || testing.Short() {
		t.Skip("needs a real etcd: make integration")
	}
	ports := freePorts(t, 2*members)
	var initial []string
	for number := 0; number < members; number++ {
		initial = append(initial, fmt.Sprintf("m%d=http://127.0.0.1:%d", number, ports[2*number+1]))
	}
	cluster := &Cluster{}
	for number := 0; number < members; number++ {
		client := fmt.Sprintf("http://127.0.0.1:%d", ports[2*number])
		peer := fmt.Sprintf("http://127.0.0.1:%d", ports[2*number+1])
		process := exec.Command(program,
			"--name", fmt.Sprintf("m%d", number), "--data-dir", filepath.Join(t.TempDir(), "etcd"),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(initial, ","), "--unsafe-no-fsync", "--logger", "zap", "--log-outputs", "/dev/null")
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		cluster.processes = append(cluster.processes, process)
		cluster.Endpoints = append(cluster.Endpoints, client)
	}
	t.Cleanup(func() {
		for number := range cluster.processes {
			cluster.Kill(number)
		}
	})
	client := cluster.Client()
	Eventually(t, "etcd answers", func() bool {
		_, err := client.Range(context.Background(), etcd.RangeRequest{Key: []byte("x")})
		return err == nil
	})
	return cluster
}

// Client returns a client that knows all members.
func (c *Cluster) Client() *etcd.Client { return etcd.New(c.Endpoints) }

// Kill ends a member at once; a second time does nothing.
func (c *Cluster) Kill(number int) {
	_ = c.processes[number].Process.Kill()
	_ = c.processes[number].Wait()
}

// Leader returns the number of the member that leads by its own metrics, or -1.
func (c *Cluster) Leader() int {
	for number, endpoint := range c.Endpoints {
		if strings.Contains(metrics(endpoint), "\netcd_server_is_leader 1\n") {
			return number
		}
	}
	return -1
}

func metrics(endpoint string) string {
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get(endpoint + "/metrics")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text := new(strings.Builder)
	_, _ = fmt.Fprint(text, "\n")
	buffer := make([]byte, 64<<10)
	for {
		count, err := response.Body.Read(buffer)
		text.Write(buffer[:count])
		if err != nil {
			return text.String()
		}
	}
}

// Eventually waits for something, and fails the test if it does not come.
func Eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}

func freePorts(t *testing.T, count int) []int {
	t.Helper()
	var ports []int
	for ; count > 0; count-- {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
