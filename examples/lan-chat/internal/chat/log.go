// Package chat keeps the messages of channels in etcd: a log that all replicas of the store share.
package chat

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"lan-chat/internal/etcd"
)

// Page is the number of messages that are read at once.
const Page = 200

// authorLimit is the length of a name, in characters.
const authorLimit = 64

var (
	channelName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	messageKey  = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Message is one message. Its ID grows from message to message in the whole cluster.
type Message struct {
	ID      int64     `json:"id"`
	Channel string    `json:"channel"`
	Author  string    `json:"author"`
	Text    string    `json:"text"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node"` // the replica that took it
}

// InvalidError says what is wrong with a message or a channel.
type InvalidError string

func (e InvalidError) Error() string { return string(e) }

// Log is the log of one cluster.
type Log struct {
	etcd   *etcd.Client
	prefix string
	node   string
	bytes  int
}

// NewLog returns the log of a cluster for one replica, which takes texts of at most `bytes` bytes.
func NewLog(client *etcd.Client, cluster, node string, bytes int) *Log {
	return &Log{client, "/lan-chat/" + cluster + "/channels/", node, bytes}
}

// CheckChannel returns an InvalidError unless a channel can have this name.
func CheckChannel(channel string) error {
	if !channelName.MatchString(channel) {
		return InvalidError("the name of a channel is 1 to 32 lower-case letters, digits and hyphens")
	}
	return nil
}

func (l *Log) check(channel, author, text string) error {
	if err := CheckChannel(channel); err != nil {
		return err
	}
	count := utf8.RuneCountInString(author)
	if count == 0 || count > authorLimit || !plain(author, false) {
		return InvalidError(fmt.Sprintf("author has 1 to %d printable characters", authorLimit))
	}
	if strings.TrimSpace(text) == "" || len(text) > l.bytes || !plain(text, true) {
		return InvalidError(fmt.Sprintf("text has 1 to %d bytes without control characters", l.bytes))
	}
	return nil
}

func plain(text string, lines bool) bool {
	for _, each := range text {
		if unicode.IsControl(each) && !(lines && (each == '\n' || each == '\t')) {
			return false
		}
	}
	return utf8.ValidString(text)
}

// NewKey returns a key that no other message has.
func NewKey() string {
	unique := make([]byte, 16)
	if _, err := rand.Read(unique); err != nil {
		panic(err) // the kernel has no random numbers
	}
	return hex.EncodeToString(unique)
}

// Append adds a message and returns it with its ID, once a majority of etcd has it on disk.
//
// `key` is one of NewKey, or "" for a new one. Who repeats a call with its key, after a lost answer, adds nothing
// and gets the message of the first call.
func (l *Log) Append(ctx context.Context, channel, key, author, text string) (Message, error) {
	if err := l.check(channel, author, text); err != nil {
		return Message{}, err
	}
	if key == "" {
		key = NewKey()
	}
	if !messageKey.MatchString(key) {
		return Message{}, InvalidError("key has 32 hexadecimal digits")
	}
	value, err := json.Marshal(Message{Channel: channel, Author: author, Text: text, Time: time.Now().UTC(), Node: l.node})
	if err != nil {
		return Message{}, err
	}
	found, _, err := l.etcd.Create(ctx, []byte(l.prefix+channel+"/"+key), value, 0)
	if err != nil {
		return Message{}, err
	}
	return decode(found)
}

// Since returns the newest messages of a channel after an ID, at most Page, oldest first, and the revision of the log.
func (l *Log) Since(ctx context.Context, channel string, after int64) ([]Message, int64, error) {
	if err := CheckChannel(channel); err != nil {
		return nil, 0, err
	}
	prefix := l.prefix + channel + "/"
	found, err := l.etcd.Range(ctx, etcd.RangeRequest{
		Key: []byte(prefix), RangeEnd: etcd.PrefixEnd(prefix), Limit: Page,
		SortTarget: "CREATE", SortOrder: "DESCEND", MinCreateRevision: after + 1,
	})
	if err != nil {
		return nil, 0, err
	}
	messages := make([]Message, 0, len(found.KVs))
	for at := len(found.KVs) - 1; at >= 0; at-- {
		if message, err := decode(found.KVs[at]); err == nil {
			messages = append(messages, message)
		}
	}
	return messages, found.Header.Revision, nil
}

// Follow calls `on` for each message of a channel after an ID, those that come later included.
//
// It returns when the context ends, when etcd no longer answers, or with the error of `on`; never nil. Calling it
// again with the ID of the last message misses none.
func (l *Log) Follow(ctx context.Context, channel string, after int64, on func(Message) error) error {
	messages, revision, err := l.Since(ctx, channel, after)
	if err != nil {
		return err
	}
	for _, message := range messages {
		if err := on(message); err != nil {
			return err
		}
	}
	prefix := l.prefix + channel + "/"
	return l.etcd.Watch(ctx, []byte(prefix), etcd.PrefixEnd(prefix), revision+1, func(event etcd.Event) error {
		if event.Type == "DELETE" {
			return nil
		}
		message, err := decode(event.KV)
		if err != nil {
			return err
		}
		return on(message)
	})
}

// Trim removes the oldest messages of all channels but the newest `keep` of each; it returns how many.
func (l *Log) Trim(ctx context.Context, keep int) (int, error) {
	found, err := l.etcd.Range(ctx, etcd.RangeRequest{
		Key: []byte(l.prefix), RangeEnd: etcd.PrefixEnd(l.prefix), KeysOnly: true,
		SortTarget: "CREATE", SortOrder: "DESCEND",
	})
	if err != nil {
		return 0, err
	}
	seen, removed := map[string]int{}, 0
	for _, each := range found.KVs {
		channel := strings.SplitN(strings.TrimPrefix(string(each.Key), l.prefix), "/", 2)[0]
		if seen[channel]++; seen[channel] <= keep {
			continue
		}
		if err := l.etcd.Delete(ctx, each.Key); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// Ready returns nil if the log can be read.
func (l *Log) Ready(ctx context.Context) error {
	_, err := l.etcd.Range(ctx, etcd.RangeRequest{Key: []byte(l.prefix), Limit: 1, KeysOnly: true})
	return err
}

func decode(kv etcd.KV) (Message, error) {
	var message Message
	if err := json.Unmarshal(kv.Value, &message); err != nil {
		return message, errors.New("the log has a value that is no message")
	}
	message.ID = kv.CreateRevision
	return message, nil
}
