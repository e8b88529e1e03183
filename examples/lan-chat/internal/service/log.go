package service

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Logger writes one JSON object a line; log collectors need no rule to read it.
type Logger struct {
	mu    sync.Mutex
	out   io.Writer
	about []any
}

// NewLogger returns a logger; `about` are keys and values that every line has.
func NewLogger(out io.Writer, about ...any) *Logger {
	return &Logger{out: out, about: about}
}

// Info writes a line; `more` are keys and values.
func (l *Logger) Info(message string, more ...any) { l.write("info", message, more) }

// Error writes a line about something that a person should look at.
func (l *Logger) Error(message string, more ...any) { l.write("error", message, more) }

func (l *Logger) write(level, message string, more []any) {
	line := map[string]any{
		"time": time.Now().UTC().Format(time.RFC3339Nano), "level": level, "message": message,
	}
	for _, pairs := range [][]any{l.about, more} {
		for at := 0; at+1 < len(pairs); at += 2 {
			value := pairs[at+1]
			if err, ok := value.(error); ok {
				value = err.Error()
			}
			line[fmt.Sprint(pairs[at])] = value
		}
	}
	text, err := json.Marshal(line)
	if err != nil {
		text, _ = json.Marshal(map[string]string{"level": "error", "message": "a log line cannot be written: " + err.Error()})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.out.Write(append(text, '\n'))
}
