package etcd_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"lan-chat/internal/etcd"
	"lan-chat/internal/etcdtest"
)

var errEnough = errors.New("enough")

func TestReal_a_key_is_created_once_and_a_repeated_call_finds_it(t *testing.T) {
	client := etcdtest.Start(t, 1).Client()
	ctx := context.Background()
	first, revision, err := client.Create(ctx, []byte("key"), []byte("one"), 0)
	if err != nil || string(first.Value) != "one" || first.CreateRevision != revision {
		t.Fatalf("created %+v at %d: %v", first, revision, err)
	}
	second, _, err := client.Create(ctx, []byte("key"), []byte("two"), 0)
	if err != nil || string(second.Value) != "one" || second.CreateRevision != first.CreateRevision {
		t.Fatalf("found %+v: %v", second, err)
	}
}

func TestReal_a_watch_sees_changes_from_its_revision_on(t *testing.T) {
	client := etcdtest.Start(t, 1).Client()
	ctx := context.Background()
	first, _, err := client.Create(ctx, []byte("a/1"), []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Create(ctx, []byte("a/2"), []byte("two"), 0); err != nil {
		t.Fatal(err)
	}
	if err := client.Delete(ctx, []byte("a/1")); err != nil {
		t.Fatal(err)
	}
	var seen []string
	err = client.Watch(ctx, []byte("a/"), etcd.PrefixEnd("a/"), first.CreateRevision+1, func(event etcd.Event) error {
		seen = append(seen, event.Type+string(event.KV.Key))
		if len(seen) == 2 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || seen[0] != "a/2" || seen[1] != "DELETEa/1" {
		t.Fatalf("saw %v: %v", seen, err)
	}
}

func TestReal_keys_go_with_their_lease(t *testing.T) {
	client := etcdtest.Start(t, 1).Client()
	ctx := context.Background()
	lease, err := client.Grant(ctx, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Create(ctx, []byte("key"), []byte("one"), lease); err != nil {
		t.Fatal(err)
	}
	if alive, err := client.KeepAlive(ctx, lease); err != nil || !alive {
		t.Fatalf("alive: %v, %v", alive, err)
	}
	if err := client.Revoke(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if alive, err := client.KeepAlive(ctx, lease); err != nil || alive {
		t.Fatalf("alive after its end: %v, %v", alive, err)
	}
	if found, err := client.Range(ctx, etcd.RangeRequest{Key: []byte("key")}); err != nil || len(found.KVs) != 0 {
		t.Fatalf("found %v: %v", found.KVs, err)
	}
}

func TestReal_calls_go_on_when_the_raft_leader_is_killed(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	client := cluster.Client()
	ctx := context.Background()
	if _, _, err := client.Create(ctx, []byte("before"), []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	leader := -1
	etcdtest.Eventually(t, "a leader", func() bool { leader = cluster.Leader(); return leader >= 0 })
	cluster.Kill(leader)
	etcdtest.Eventually(t, "another leader takes a key", func() bool {
		_, _, err := client.Create(ctx, []byte("after"), []byte("x"), 0)
		return err == nil
	})
	if now := cluster.Leader(); now == leader {
		t.Fatalf("%d still leads", now)
	}
	if found, err := client.Range(ctx, etcd.RangeRequest{Key: []byte("before")}); err != nil || len(found.KVs) != 1 {
		t.Fatalf("found %v: %v", found.KVs, err)
	}
}

func TestNo_member_that_answers_is_an_error_that_names_all(t *testing.T) {
	client := etcd.New([]string{"http://127.0.0.1:1", "http://127.0.0.1:2"})
	_, err := client.Range(context.Background(), etcd.RangeRequest{Key: []byte("x")})
	if err == nil {
		t.Fatal("no error")
	}
	for _, each := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
		if !strings.Contains(err.Error(), each) {
			t.Fatalf("%v does not name %s", err, each)
		}
	}
}
