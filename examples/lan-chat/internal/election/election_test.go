package election_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"lan-chat/internal/election"
	"lan-chat/internal/etcdtest"
)

type replica struct {
	*election.Election
	changes atomic.Int32
	resign  context.CancelFunc
	ended   chan struct{}
}

func join(t *testing.T, cluster *etcdtest.Cluster, name string, ttl time.Duration) *replica {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	each := &replica{resign: cancel, ended: make(chan struct{})}
	each.Election = election.New(cluster.Client(), "leader", name, ttl, func(_ string, change bool) {
		if change {
			each.changes.Add(1)
		}
	})
	go func() {
		defer close(each.ended)
		each.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-each.ended })
	return each
}

func TestReal_one_replica_leads_and_another_takes_over_when_it_resigns(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	// The lease is longer than the test: only resigning ends it.
	first := join(t, cluster, "one", time.Hour)
	etcdtest.Eventually(t, "the first leads", first.Leads)
	second := join(t, cluster, "two", time.Hour)
	etcdtest.Eventually(t, "the second knows", func() bool { return second.Leader() == "one" })
	if second.Leads() || second.changes.Load() != 0 {
		t.Fatal("the second leads, or counts its first leader as a change")
	}
	first.resign()
	etcdtest.Eventually(t, "the second leads", second.Leads)
	etcdtest.Eventually(t, "the change is counted", func() bool { return second.changes.Load() == 1 })
}

func TestReal_the_lease_of_a_dead_leader_ends(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	client, ctx := cluster.Client(), context.Background()
	lease, err := client.Grant(ctx, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Create(ctx, []byte("leader"), []byte("dead"), lease); err != nil {
		t.Fatal(err)
	}
	alive := join(t, cluster, "alive", 2*time.Second)
	etcdtest.Eventually(t, "the other leads", alive.Leads)
	if alive.Leader() != "alive" {
		t.Fatal(alive.Leader())
	}
}

func TestReal_a_replica_with_the_name_of_a_dead_leader_does_not_lead(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	client, ctx := cluster.Client(), context.Background()
	lease, err := client.Grant(ctx, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Create(ctx, []byte("leader"), []byte("one"), lease); err != nil {
		t.Fatal(err)
	}
	again := join(t, cluster, "one", time.Hour)
	etcdtest.Eventually(t, "it sees its former key", func() bool { return again.Leader() == "one" })
	if again.Leads() {
		t.Fatal("it leads by the lease of a process that is gone")
	}
	if err := client.Revoke(ctx, lease); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, "it leads by its own", again.Leads)
}

func TestReal_a_leader_without_etcd_does_not_lead_after_its_lease(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	alone := join(t, cluster, "alone", 2*time.Second)
	etcdtest.Eventually(t, "it leads", alone.Leads)
	cluster.Kill(0)
	etcdtest.Eventually(t, "it does not lead", func() bool { return !alone.Leads() })
}
