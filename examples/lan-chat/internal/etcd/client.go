// Package etcd speaks the part of etcd's API v3 that lan-chat needs, through etcd's own JSON gateway.
//
// The official client would bring gRPC and some forty modules with it. This one needs the standard library only, so
// that the product builds on a machine without a network.
package etcd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// attempt is the time that one endpoint gets for an answer. An election of Raft takes about a second.
	attempt = 3 * time.Second
	// answerLimit bounds the answer of a call, in bytes.
	answerLimit = 64 << 20
	// eventLimit bounds what one watch may send, in bytes: a safeguard, a message has a few kilobytes.
	eventLimit = 1 << 40
)

// ErrCompacted says that the events after a revision are no longer there.
var ErrCompacted = errors.New("etcd: the revision has been compacted")

// Client calls the members of one etcd cluster. It is safe for concurrent use.
type Client struct {
	endpoints []string
	http      *http.Client
	next      atomic.Int64 // the endpoint that answered last
}

// New returns a client for endpoints such as "http://127.0.0.1:2379".
func New(endpoints []string) *Client {
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: attempt,
	}
	return &Client{endpoints: endpoints, http: &http.Client{Transport: transport}}
}

// KV is a key with its value, and the revisions that etcd gave it.
type KV struct {
	Key            []byte `json:"key"`
	Value          []byte `json:"value"`
	CreateRevision int64  `json:"create_revision,string"`
	ModRevision    int64  `json:"mod_revision,string"`
	Lease          int64  `json:"lease,string"`
}

type header struct {
	Revision int64 `json:"revision,string"`
}

// RangeRequest asks for one key, or for all keys from Key up to RangeEnd.
type RangeRequest struct {
	Key               []byte `json:"key"`
	RangeEnd          []byte `json:"range_end,omitempty"`
	Limit             int64  `json:"limit,string,omitempty"`
	SortTarget        string `json:"sort_target,omitempty"`
	SortOrder         string `json:"sort_order,omitempty"`
	KeysOnly          bool   `json:"keys_only,omitempty"`
	MinCreateRevision int64  `json:"min_create_revision,string,omitempty"`
}

// RangeResponse is the answer, and the revision of the store that it is true for.
type RangeResponse struct {
	Header header `json:"header"`
	KVs    []KV   `json:"kvs"`
	More   bool   `json:"more"`
}

// Range reads keys; the answer is linearizable.
func (c *Client) Range(ctx context.Context, request RangeRequest) (RangeResponse, error) {
	var response RangeResponse
	err := c.call(ctx, "/v3/kv/range", request, &response)
	return response, err
}

// Create puts a key that does not exist yet, bound to a lease unless that is 0.
//
// It returns the key as it is in the store afterwards, whoever created it, and the revision that this is true for. A
// call may be repeated after a lost answer.
func (c *Client) Create(ctx context.Context, key, value []byte, lease int64) (KV, int64, error) {
	type put struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
		Lease int64  `json:"lease,string,omitempty"`
	}
	look := map[string]any{"request_range": RangeRequest{Key: key}}
	request := map[string]any{
		"compare": []any{map[string]any{"target": "CREATE", "result": "EQUAL", "key": key, "create_revision": "0"}},
		"success": []any{map[string]any{"request_put": put{key, value, lease}}, look},
		"failure": []any{look},
	}
	var response struct {
		Header    header `json:"header"`
		Responses []struct {
			Range RangeResponse `json:"response_range"`
		} `json:"responses"`
	}
	if err := c.call(ctx, "/v3/kv/txn", request, &response); err != nil {
		return KV{}, 0, err
	}
	for _, each := range response.Responses {
		if len(each.Range.KVs) == 1 {
			return each.Range.KVs[0], response.Header.Revision, nil
		}
	}
	// Impossible in one transaction, unless the answer is not etcd's.
	return KV{}, 0, errors.New("etcd: the answer to a transaction has no key")
}

// Delete removes a key; one that is not there is no error.
func (c *Client) Delete(ctx context.Context, key []byte) error {
	return c.call(ctx, "/v3/kv/deleterange", map[string]any{"key": key}, nil)
}

// Grant returns the id of a new lease.
func (c *Client) Grant(ctx context.Context, ttl time.Duration) (int64, error) {
	var response struct {
		ID int64 `json:"ID,string"`
	}
	err := c.call(ctx, "/v3/lease/grant", map[string]any{"TTL": int64(ttl / time.Second)}, &response)
	return response.ID, err
}

// KeepAlive renews a lease and tells whether it still exists.
func (c *Client) KeepAlive(ctx context.Context, lease int64) (bool, error) {
	var response struct {
		Result struct {
			TTL int64 `json:"TTL,string"`
		} `json:"result"`
	}
	err := c.call(ctx, "/v3/lease/keepalive", map[string]any{"ID": fmt.Sprint(lease)}, &response)
	return response.Result.TTL > 0, err
}

// Revoke ends a lease; keys that are bound to it go.
func (c *Client) Revoke(ctx context.Context, lease int64) error {
	return c.call(ctx, "/v3/lease/revoke", map[string]any{"ID": fmt.Sprint(lease)}, nil)
}

// Event is one change of a key.
type Event struct {
	Type string `json:"type"` // "" is a put, "DELETE" a deletion
	KV   KV     `json:"kv"`
}

// Watch calls `on` for each change from a revision on, until the context ends, etcd ends the stream, or `on` fails.
//
// A key with a RangeEnd watches all keys between. The error is never nil.
func (c *Client) Watch(ctx context.Context, key, rangeEnd []byte, from int64, on func(Event) error) error {
	request := map[string]any{"key": key, "start_revision": fmt.Sprint(from)}
	if rangeEnd != nil {
		request["range_end"] = rangeEnd
	}
	// The members answer at once that the watch has begun, so that ResponseHeaderTimeout finds a dead one.
	response, err := c.post(ctx, "/v3/watch", map[string]any{"create_request": request})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(response.Body, eventLimit))
	for {
		var message struct {
			Result struct {
				Canceled        bool    `json:"canceled"`
				CompactRevision int64   `json:"compact_revision,string"`
				Events          []Event `json:"events"`
			} `json:"result"`
			Error *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := decoder.Decode(&message); err != nil {
			return fmt.Errorf("etcd: watch ended: %w", err)
		}
		if message.Result.CompactRevision > 0 {
			return ErrCompacted
		}
		if message.Error != nil {
			return fmt.Errorf("etcd: watch ended: %s", message.Error.Message)
		}
		if message.Result.Canceled {
			return errors.New("etcd: watch was canceled")
		}
		for _, event := range message.Result.Events {
			if err := on(event); err != nil {
				return err
			}
		}
	}
}

// PrefixEnd returns the RangeEnd for all keys with a prefix that does not end in 0xff.
func PrefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// call sends a request and decodes the answer; every endpoint gets one try, the one that answered last comes first.
func (c *Client) call(ctx context.Context, path string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, attempt*time.Duration(len(c.endpoints)))
	defer cancel()
	response, err := c.post(ctx, path, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if answer == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, answerLimit))
		return err
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, answerLimit)).Decode(answer); err != nil {
		return fmt.Errorf("etcd: %s: %w", path, err)
	}
	return nil
}

// post returns the first answer with status 200.
func (c *Client) post(ctx context.Context, path string, request any) (*http.Response, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	var failures []string
	first := int(c.next.Load())
	for offset := range c.endpoints {
		number := (first + offset) % len(c.endpoints)
		response, err := c.try(ctx, c.endpoints[number]+path, body)
		if err == nil {
			c.next.Store(int64(number))
			return response, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("etcd: %s: %w", path, ctx.Err())
		}
		failures = append(failures, err.Error())
	}
	return nil, fmt.Errorf("etcd: %s: no member answers: %s", path, strings.Join(failures, "; "))
}

func (c *Client) try(ctx context.Context, url string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		response.Body.Close()
		return nil, fmt.Errorf("%s: %s: %s", url, response.Status, strings.TrimSpace(string(said)))
	}
	return response, nil
}
