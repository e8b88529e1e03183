// Package service is what both services share: configuration, logs, metrics and HTTP servers that end in order.
package service

import (
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
)

// secretLimit is the size of a file with a secret, in bytes.
const secretLimit = 4096

// Config reads the configuration from environment variables, and collects everything that is wrong with it.
type Config struct {
	get      func(string) string
	problems []string
}

// NewConfig returns a reader; `get` is os.Getenv but in tests.
func NewConfig(get func(string) string) *Config {
	return &Config{get: get}
}

func (c *Config) wrong(name, format string, args ...any) {
	c.problems = append(c.problems, name+": "+fmt.Sprintf(format, args...))
}

// String returns a variable, or the default where it is not set; without a default it has to be set.
func (c *Config) String(name, fallback string) string {
	value := c.get(name)
	if value == "" {
		value = fallback
	}
	if value == "" {
		c.wrong(name, "is not set")
	}
	return value
}

// Optional returns a variable that need not be set.
func (c *Config) Optional(name string) string { return c.get(name) }

// Int returns a whole number between two others.
func (c *Config) Int(name string, fallback, least, most int) int {
	text := c.get(name)
	if text == "" {
		return fallback
	}
	value, err := strconv.Atoi(text)
	if err != nil || value < least || value > most {
		c.wrong(name, "is %q, and has to be a whole number from %d to %d", text, least, most)
		return fallback
	}
	return value
}

// List returns the words of a variable, which are separated by commas or blanks; at least one.
func (c *Config) List(name string) []string {
	words := strings.FieldsFunc(c.get(name), func(r rune) bool { return r == ',' || r == ' ' })
	if len(words) == 0 {
		c.wrong(name, "is not set")
	}
	return words
}

// Address returns HOST:PORT; `offset` is added to the port, for several replicas on one host.
func (c *Config) Address(name string, offset int) string {
	host, text, err := net.SplitHostPort(c.String(name, ""))
	port, wrong := strconv.Atoi(text)
	if err != nil || wrong != nil || port+offset < 1 || port+offset > 65535 {
		c.wrong(name, "has to be HOST:PORT")
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(port+offset))
}

// Secret returns the first line of the file that a variable names, `-` for standard input.
//
// The secret itself is never in the environment, which other processes of the user can read. Standard input is for
// systemd, which opens a file of root's before it changes the user: StandardInput=file:/etc/lan-chat/token.
func (c *Config) Secret(name string) string {
	path := c.String(name, "")
	if path == "" {
		return ""
	}
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			c.wrong(name, "%v", err)
			return ""
		}
		defer file.Close()
	}
	data := make([]byte, secretLimit)
	count, _ := file.Read(data)
	secret := strings.TrimSpace(strings.SplitN(string(data[:count]), "\n", 2)[0])
	if len(secret) < 16 {
		c.wrong(name, "%s has fewer than 16 characters in its first line", path)
	}
	return secret
}

// Err returns everything that was wrong, or nil.
func (c *Config) Err() error {
	if len(c.problems) == 0 {
		return nil
	}
	sort.Strings(c.problems)
	return fmt.Errorf("the configuration is not valid: %s", strings.Join(c.problems, "; "))
}
