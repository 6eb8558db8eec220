package browser

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxRefused bounds the addresses that are remembered as refused.
const maxRefused = 1000

// gate is the proxy that is the browser's only way out.
type gate struct {
	allowed  func(address string) bool
	traffic  int64
	listener net.Listener
	server   *http.Server
	dialer   net.Dialer
	owned    sync.WaitGroup

	passed atomic.Int64 // bytes sent to the browser since the last reset

	mu      sync.Mutex
	refused []string
	full    func() // called when the page takes too many bytes
	open    map[net.Conn]bool
	closed  bool
}

var errTraffic = errors.New("the page takes too many bytes")

func openGate(allowed func(string) bool, traffic int64) (*gate, error) {
	if allowed == nil {
		allowed = func(string) bool { return true }
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{allowed: allowed, traffic: traffic, listener: listener, dialer: net.Dialer{Timeout: 10 * time.Second}, open: map[net.Conn]bool{}}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host },
		Transport: &http.Transport{DialContext: g.dialer.DialContext, DisableCompression: true, ResponseHeaderTimeout: 15 * time.Second, MaxIdleConnsPerHost: 8},
		ErrorLog:  log.New(io.Discard, "", 0),
		ModifyResponse: func(r *http.Response) error {
			r.Body = &counted{ReadCloser: r.Body, gate: g}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	g.server = &http.Server{
		ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 15 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			address := withPort(r)
			switch {
			case ownErrand(address):
				w.WriteHeader(http.StatusForbidden)
			case !g.allowed(address):
				g.refuse(address)
				w.WriteHeader(http.StatusForbidden)
			case r.Method == http.MethodConnect:
				g.tunnel(w, address)
			case r.URL.Scheme != "http":
				w.WriteHeader(http.StatusBadRequest)
			default:
				forward.ServeHTTP(w, r)
			}
		}),
	}
	g.owned.Go(func() { g.server.Serve(listener) })
	return g, nil
}

// withPort returns the address that a request to the proxy is for, with its port.
func withPort(r *http.Request) string {
	host := r.URL.Host
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort((r.URL.Hostname()), "80")
}

// errands are hosts that Chromium itself talks to, whatever it is told: for updates, sign-in and lists. It must not, and what it asks of
// them is no page's. A page that loads from one of them is seen to ask, and does not get it.
var errands = []string{
	"accounts.google.com", "update.googleapis.com", "clients1.google.com", "clients2.google.com", "clients3.google.com", "clients4.google.com",
	"clientservices.googleapis.com", "optimizationguide-pa.googleapis.com", "content-autofill.googleapis.com", "safebrowsing.googleapis.com",
	"safebrowsingohttpgateway.googleapis.com", "edgedl.me.gvt1.com", "redirector.gvt1.com", "android.clients.google.com", "mtalk.google.com",
}

func ownErrand(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && slices.Contains(errands, host)
}

// Public tells whether an address, host:port, is not by itself one of this machine or of a private network. A name may lead there
// all the same.
func Public(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if ip := net.ParseIP(host); ip != nil {
		return !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified() && !ip.IsMulticast()
	}
	return host != "localhost" && strings.Contains(host, ".") && !strings.HasSuffix(host, ".localhost")
}

func (g *gate) address() string { return g.listener.Addr().String() }

// reset begins a new count. full is called when it is over the bound, perhaps more than once.
func (g *gate) reset(full func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused, g.full = nil, full
	g.passed.Store(0)
}

func (g *gate) refuse(address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.refused) < maxRefused && !slices.Contains(g.refused, address) {
		g.refused = append(g.refused, address)
	}
}

// turnedAway lists the addresses that were asked for and refused since the last reset.
func (g *gate) turnedAway() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.refused)
}

// overfull tells whether the page took more than its bytes.
func (g *gate) overfull() bool { return g.passed.Load() > g.traffic }

// tunnel passes bytes on in both directions until one side ends.
func (g *gate) tunnel(w http.ResponseWriter, address string) {
	ctx, cancel := context.WithTimeout(context.Background(), g.dialer.Timeout)
	defer cancel()
	out, err := g.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer out.Close()
	in, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer in.Close()
	if !g.keep(in, out) {
		return
	}
	defer g.forget(in, out)
	if _, err := io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(in, &counted{ReadCloser: out, gate: g})
		in.Close()
	})
	io.Copy(out, buffered)
	out.Close()
	back.Wait()
}

// keep remembers open connections, so that close ends them.
func (g *gate) keep(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		g.open[c] = true
	}
	return !g.closed
}

func (g *gate) forget(conns ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		delete(g.open, c)
	}
}

func (g *gate) close() {
	g.server.Close()
	g.mu.Lock()
	g.closed = true
	for c := range g.open {
		c.Close()
	}
	g.mu.Unlock()
	g.owned.Wait()
}

// counted counts what the browser is sent, and ends at the bound.
type counted struct {
	io.ReadCloser
	gate *gate
}

func (c *counted) Read(p []byte) (int, error) {
	if c.gate.overfull() {
		c.gate.mu.Lock()
		full := c.gate.full
		c.gate.mu.Unlock()
		if full != nil {
			full()
		}
		return 0, errTraffic
	}
	n, err := c.ReadCloser.Read(p)
	c.gate.passed.Add(int64(n))
	return n, err
}
