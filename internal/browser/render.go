package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"
)

const (
	// MaxDocument bounds the document that Render returns, in UTF-16 code units: what follows is cut off.
	MaxDocument = 4 << 20
	// maxSeen bounds each list in a Rendered.
	maxSeen = 1000
	// maxText bounds a text that a page made, in bytes.
	maxText = 500
	// width and height are those of the picture, in pixels.
	width, height = 1280, 1024
	// scriptTime is how much of its own time a page gets after it has loaded: scripts that wait before they act are seen,
	// without waiting as long as they do.
	scriptTime = 6 * time.Second
	// settle bounds the wait for that.
	settle = 3 * time.Second
)

// Visitor is whom a page takes the browser for. Empty values are the browser's own.
type Visitor struct {
	UserAgent string
	Language  string // Accept-Language
	Referrer  string
}

// Request is one that a page made, or tried to make.
type Request struct {
	URL  string `json:"url"`  // at most 500 bytes
	Type string `json:"type"` // of the Chrome DevTools Protocol: Document, Script, Image, WebSocket …; "Connection" if only the address is known
	// By is the URL of the script that made it, "" if the document itself did.
	By      string `json:"by,omitempty"`
	Refused bool   `json:"refused,omitempty"` // its address was not allowed
}

// Rendered is what a page did.
type Rendered struct {
	URL            string // where the browser ended up
	Document       string // as HTML, after its scripts ran
	Cut            bool   // the document was longer than MaxDocument
	Requests       []Request
	Picture        []byte   // PNG of 1280 by 1024 pixels
	Console        []string // errors
	ServiceWorkers []string // URLs of their scripts
	Dialogs        []string // what it showed; each was dismissed
}

// Render opens a page as a first visit, lets its scripts run and returns what came of it. An error means that it was not
// seen: it does not answer, takes too many bytes or too long, or the browser had to be ended, which ends it for good.
func (b *Browser) Render(ctx context.Context, address string, v Visitor) (Rendered, error) {
	b.rendering.Lock()
	defer b.rendering.Unlock()
	ctx, cancel := context.WithTimeout(ctx, b.opt.Timeout)
	defer cancel()
	if err := b.lost(); err != nil {
		return Rendered{}, fmt.Errorf("render %s: %w", address, err)
	}
	// A browser context of its own: no cookies, no storage, no workers of former pages.
	tab, closeTab := chromedp.NewContext(b.tabs, chromedp.WithNewBrowserContext())
	defer closeTab()
	unlink := context.AfterFunc(ctx, closeTab)
	defer unlink()
	b.gate.reset(closeTab)
	w := &witness{loaded: make(chan struct{}, 1), spent: make(chan struct{}, 1), dialogs: make(chan struct{}, maxSeen)}
	_, err := chromedp.Run(tab, func(tab context.Context, t *chromedp.Target) (chromedp.Void, error) {
		return chromedp.Void{}, w.render(tab, t, address, v)
	})
	switch {
	case b.lost() != nil:
		err = b.lost()
	case b.gate.overfull():
		err = fmt.Errorf("%w: at most %d MiB are loaded", errTraffic, b.opt.Traffic>>20)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it is not there after %v", b.opt.Timeout)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	if err != nil {
		return Rendered{}, fmt.Errorf("render %s: %w", address, err)
	}
	return w.finish(b.gate.turnedAway()), nil
}

// lost tells why the browser is gone, nil if it is not.
func (b *Browser) lost() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.died == nil && b.tabs.Err() != nil {
		return fmt.Errorf("the browser ended: %w", context.Cause(b.tabs))
	}
	return b.died
}

// witness notes what a page does while it is rendered.
type witness struct {
	loaded, spent chan struct{} // the load event; the page's own time
	dialogs       chan struct{} // each waits for an answer

	mu   sync.Mutex
	seen Rendered
}

func (w *witness) render(tab context.Context, t *chromedp.Target, address string, v Visitor) error {
	if err := chromedp.Listen(tab, w.take); err != nil {
		return err
	}
	// The page stands still until a dialog is answered, and with it whoever waits for the page.
	ctx, cancel := context.WithCancel(tab)
	var answers sync.WaitGroup
	answers.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.dialogs:
				_, _ = cdp.Call(ctx, t, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
			}
		}
	})
	defer func() { cancel(); answers.Wait() }()
	if err := prepare(ctx, t, v); err != nil {
		return err
	}
	went, err := cdp.Call(ctx, t, page.Navigate, page.NavigateParams{URL: address, Referrer: v.Referrer, ReferrerPolicy: page.ReferrerPolicyUnsafeURL})
	if err == nil && went.ErrorText != "" {
		err = errors.New(went.ErrorText)
	}
	if err != nil {
		return err
	}
	if err := await(ctx, w.loaded, 0); err != nil {
		return err
	}
	if err := w.letScriptsRun(ctx, t); err != nil {
		return err
	}
	return w.look(ctx, t)
}

func prepare(ctx context.Context, t *chromedp.Target, v Visitor) error {
	var errs []error
	try := func(_ cdp.Empty, err error) { errs = append(errs, err) }
	try(cdp.Call(ctx, t, network.Enable, network.EnableParams{}))
	try(cdp.Call(ctx, t, page.Enable, page.EnableParams{}))
	try(cdp.Call(ctx, t, runtime.Enable, cdp.Empty{}))
	try(cdp.Call(ctx, t, cdplog.Enable, cdp.Empty{}))
	try(cdp.Call(ctx, t, serviceworker.Enable, cdp.Empty{}))
	try(cdp.Call(ctx, t, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1}))
	if v.UserAgent != "" {
		try(cdp.Call(ctx, t, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: v.UserAgent, AcceptLanguage: v.Language}))
	}
	return errors.Join(errs...)
}

// await waits for a signal, at most so long if that is not 0.
func await(ctx context.Context, c <-chan struct{}, most time.Duration) error {
	var late <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-c:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// letScriptsRun moves the page's clock on, which stands still while requests are under way.
func (w *witness) letScriptsRun(ctx context.Context, t *chromedp.Target) error {
	budget := float64(scriptTime / time.Millisecond)
	_, err := cdp.Call(ctx, t, emulation.SetVirtualTimePolicy, emulation.SetVirtualTimePolicyParams{
		Policy: emulation.VirtualTimePolicyPauseIfNetworkFetchesPending, Budget: &budget, MaxVirtualTimeTaskStarvationCount: 1000,
	})
	if err != nil {
		return err
	}
	if err := await(ctx, w.spent, settle); err != nil {
		return err
	}
	_, err = cdp.Call(ctx, t, emulation.SetVirtualTimePolicy, emulation.SetVirtualTimePolicyParams{Policy: emulation.VirtualTimePolicyAdvance})
	return err
}

// look takes the document and the picture.
func (w *witness) look(ctx context.Context, t *chromedp.Target) error {
	frames, err := cdp.Call(ctx, t, page.GetFrameTree, cdp.Empty{})
	if err != nil {
		return err
	}
	top := frames.FrameTree.Frame
	// In a world of its own: what the page made of JavaScript's functions does not count there.
	world, err := cdp.Call(ctx, t, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: top.ID})
	if err != nil {
		return err
	}
	yes := true
	document, err := cdp.Call(ctx, t, runtime.Evaluate, runtime.EvaluateParams{
		Expression: fmt.Sprintf("document.documentElement.outerHTML.slice(0, %d)", MaxDocument+1), ContextID: world.ExecutionContextID, ReturnByValue: &yes,
	})
	if err == nil && document.ExceptionDetails != nil {
		err = errors.New(document.ExceptionDetails.Text)
	}
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	picture, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng, OptimizeForSpeed: &yes})
	if err != nil {
		return fmt.Errorf("take the picture: %w", err)
	}
	text := unquote(document.Result.Value)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.URL = clip(top.URL)
	w.seen.Cut = len(text) > MaxDocument
	w.seen.Document = strings.ToValidUTF8(text[:min(len(text), MaxDocument)], "")
	w.seen.Picture = picture.Data
	return nil
}

// take notes an event. It must not wait.
func (w *witness) take(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *page.EventLoadEventFired:
		signal(w.loaded)
	case *emulation.EventVirtualTimeBudgetExpired:
		signal(w.spent)
	case *network.EventRequestWillBeSent:
		if len(w.seen.Requests) < maxSeen {
			w.seen.Requests = append(w.seen.Requests, Request{URL: clip(e.Request.URL), Type: string(e.Type), By: script(e.Initiator)})
		}
	case *network.EventWebSocketCreated:
		if len(w.seen.Requests) < maxSeen {
			w.seen.Requests = append(w.seen.Requests, Request{URL: clip(e.URL), Type: string(network.ResourceTypeWebSocket), By: script(e.Initiator)})
		}
	case *runtime.EventExceptionThrown:
		w.seen.Console = appendText(w.seen.Console, thrown(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError && len(e.Args) > 0 {
			w.seen.Console = appendText(w.seen.Console, unquote(e.Args[0].Value))
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError {
			w.seen.Console = appendText(w.seen.Console, e.Entry.Text)
		}
	case *serviceworker.EventWorkerVersionUpdated:
		for _, v := range e.Versions {
			if !slices.Contains(w.seen.ServiceWorkers, v.ScriptURL) {
				w.seen.ServiceWorkers = appendText(w.seen.ServiceWorkers, v.ScriptURL)
			}
		}
	case *page.EventJavascriptDialogOpening:
		w.seen.Dialogs = appendText(w.seen.Dialogs, e.Message)
		signal(w.dialogs)
	}
}

// thrown tells an exception that nobody caught.
func thrown(e *runtime.ExceptionDetails) string {
	if e.Exception != nil {
		return e.Text + " " + e.Exception.Description
	}
	return e.Text
}

func script(i *network.Initiator) string {
	if i == nil || i.Type != network.InitiatorTypeScript {
		return ""
	}
	if i.Stack != nil && len(i.Stack.CallFrames) > 0 {
		return clip(i.Stack.CallFrames[0].URL)
	}
	return clip(i.URL)
}

// finish adds the addresses that were refused.
func (w *witness) finish(refused []string) Rendered {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range w.seen.Requests {
		w.seen.Requests[i].Refused = slices.Contains(refused, addressOf(r.URL))
	}
	for _, address := range refused {
		known := slices.ContainsFunc(w.seen.Requests, func(r Request) bool { return addressOf(r.URL) == address })
		if !known && len(w.seen.Requests) < maxSeen {
			w.seen.Requests = append(w.seen.Requests, Request{URL: "//" + address, Type: "Connection", Refused: true})
		}
	}
	return w.seen
}

// addressOf returns host:port of a URL, "" if it has none.
func addressOf(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return ""
	}
	if u.Port() != "" {
		return u.Host
	}
	switch u.Scheme {
	case "https", "wss":
		return u.Host + ":443"
	}
	return u.Host + ":80"
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func appendText(list []string, text string) []string {
	if len(list) >= maxSeen {
		return list
	}
	return append(list, clip(text))
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxText)], "") }

// unquote returns the string in a JSON value, or the value as it is written.
func unquote(value []byte) string {
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return string(value)
	}
	return text
}
