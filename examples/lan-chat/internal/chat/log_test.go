package chat_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"lan-chat/internal/chat"
	"lan-chat/internal/etcd"
	"lan-chat/internal/etcdtest"
)

var errEnough = errors.New("enough")

func TestWhat_is_no_message_is_refused_before_etcd_is_asked(t *testing.T) {
	log := chat.NewLog(etcd.New(nil), "test", "node", 8)
	for fault, words := range map[string][4]string{
		"channel with a slash":   {"a/b", "", "ann", "hello"},
		"channel without a name": {"", "", "ann", "hello"},
		"channel of 33 letters":  {strings.Repeat("a", 33), "", "ann", "hello"},
		"no author":              {"lobby", "", "", "hello"},
		"author of two lines":    {"lobby", "", "a\nb", "hello"},
		"text of blanks":         {"lobby", "", "ann", " \n"},
		"text too long":          {"lobby", "", "ann", "123456789"},
		"text with a bell":       {"lobby", "", "ann", "a\a"},
		"text that is no UTF8":   {"lobby", "", "ann", "a\xff"},
		"key that is short":      {"lobby", "abc", "ann", "hello"},
	} {
		_, err := log.Append(context.Background(), words[0], words[1], words[2], words[3])
		var invalid chat.InvalidError
		if !errors.As(err, &invalid) {
			t.Errorf("%s: %v", fault, err)
		}
	}
}

func TestReal_messages_of_two_replicas_have_one_order(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	ctx := context.Background()
	one := chat.NewLog(cluster.Client(), "test", "one", 100)
	two := chat.NewLog(cluster.Client(), "test", "two", 100)
	for _, log := range []*chat.Log{one, two, one} {
		if _, err := log.Append(ctx, "lobby", "", "ann", "hello"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := one.Append(ctx, "lobby-2", "", "ann", "elsewhere"); err != nil {
		t.Fatal(err)
	}
	messages, _, err := two.Since(ctx, "lobby", 0)
	if err != nil || len(messages) != 3 || messages[0].Node != "one" || messages[1].Node != "two" {
		t.Fatalf("%+v: %v", messages, err)
	}
	after, _, err := one.Since(ctx, "lobby", messages[0].ID)
	if err != nil || len(after) != 2 || after[0].ID != messages[1].ID || after[0].ID <= messages[0].ID {
		t.Fatalf("%+v: %v", after, err)
	}
}

func TestReal_a_repeated_append_with_its_key_adds_nothing(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	ctx, key := context.Background(), chat.NewKey()
	log := chat.NewLog(cluster.Client(), "test", "one", 100)
	first, err := log.Append(ctx, "lobby", key, "ann", "hello")
	if err != nil {
		t.Fatal(err)
	}
	again, err := chat.NewLog(cluster.Client(), "test", "two", 100).Append(ctx, "lobby", key, "ann", "hello")
	if err != nil || again.ID != first.ID || again.Node != "one" {
		t.Fatalf("%+v, then %+v: %v", first, again, err)
	}
}

func TestReal_who_follows_gets_the_old_and_the_new(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	ctx := context.Background()
	log := chat.NewLog(cluster.Client(), "test", "one", 100)
	if _, err := log.Append(ctx, "lobby", "", "ann", "old"); err != nil {
		t.Fatal(err)
	}
	var texts []string
	err := log.Follow(ctx, "lobby", 0, func(message chat.Message) error {
		texts = append(texts, message.Text)
		if message.Text == "new" {
			return errEnough
		}
		_, err := log.Append(ctx, "lobby", "", "ann", "new")
		return err
	})
	if !errors.Is(err, errEnough) || strings.Join(texts, " ") != "old new" {
		t.Fatalf("%v: %v", texts, err)
	}
}

func TestReal_the_oldest_of_each_channel_are_trimmed(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	ctx := context.Background()
	log := chat.NewLog(cluster.Client(), "test", "one", 100)
	for _, text := range []string{"1", "2", "3"} {
		for _, channel := range []string{"a", "b"} {
			if _, err := log.Append(ctx, channel, "", "ann", text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if removed, err := log.Trim(ctx, 2); err != nil || removed != 2 {
		t.Fatalf("removed %d: %v", removed, err)
	}
	for _, channel := range []string{"a", "b"} {
		messages, _, err := log.Since(ctx, channel, 0)
		if err != nil || len(messages) != 2 || messages[0].Text != "2" {
			t.Fatalf("%s: %+v: %v", channel, messages, err)
		}
	}
}
