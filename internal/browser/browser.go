// Package browser renders pages in a headless Chromium that may talk to named addresses only, and tells what they did: the
// document after its scripts ran, every request, the picture, what was registered and shown.
//
// Pages are hostile. The browser runs in its own sandbox, as root under an account without rights (and without the sandbox only there, if
// the kernel allows it none; About tells), with an empty
// profile that is removed afterwards; its only way out is a proxy of this package, which refuses addresses that were not
// allowed and ends at a bound of bytes; it is killed, with all that it started, when it takes too much memory, when the
// context ends, and by Close.
package browser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"

	"github.com/kedge-project/kedge/internal/process"
)

// ErrNone is returned by Start where no Chromium is installed.
var ErrNone = errors.New("no Chromium is installed: install the package chromium")

const (
	defaultMemory  = 1 << 30
	defaultTraffic = 64 << 20
	defaultTimeout = 20 * time.Second
	// startTimeout is how long the browser may take to listen.
	startTimeout = 20 * time.Second
	// memoryLook is how often its memory is looked at.
	memoryLook = 200 * time.Millisecond
	// sandboxWait bounds the wait for a process to shut itself in.
	sandboxWait = time.Second
	// goneWait bounds the wait for killed processes to be gone.
	goneWait = 5 * time.Second
)

// Options bound what a browser may do. Zero values mean the defaults.
type Options struct {
	// Allowed tells whether pages may talk to an address, host:port. Nil allows all.
	Allowed func(address string) bool
	Memory  int64         // of all its processes, without what they share, in bytes; default 1 GiB
	Traffic int64         // of one page, in bytes; default 64 MiB
	Timeout time.Duration // of one page; default 20 s
	// Account is whom the browser runs as if kedge is root; default nobody. Its own sandbox needs an account without rights.
	Account string
}

// Browser is a running Chromium. It renders one page at a time; it is safe for concurrent use.
type Browser struct {
	opt     Options
	profile string
	about   string
	gate    *gate
	leader  int // PID of its main process, which leads a session
	owned   sync.WaitGroup

	tabs            context.Context
	closeTabs, stop context.CancelFunc
	rendering       sync.Mutex // held while a page is rendered

	mu   sync.Mutex
	died error // why it was ended, if it was
}

// Start starts a browser. ErrNone says that there is none.
func Start(ctx context.Context, opt Options) (*Browser, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	opt.Memory = cmp.Or(opt.Memory, defaultMemory)
	opt.Traffic = cmp.Or(opt.Traffic, defaultTraffic)
	opt.Timeout = cmp.Or(opt.Timeout, defaultTimeout)
	b, err := startOne(ctx, program, opt, true)
	if err == nil || !strings.Contains(err.Error(), "sandbox") {
		return b, err
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w; allow user namespaces, or install the package chromium-sandbox", err)
	}
	// The kernel, or a container, allows no namespaces: an account without rights and the proxy are what is left.
	return startOne(ctx, program, opt, false)
}

func startOne(ctx context.Context, program string, opt Options, sandbox bool) (*Browser, error) {
	b := &Browser{opt: opt}
	if err := b.start(ctx, program, sandbox); err != nil {
		return nil, fmt.Errorf("start browser: %w", errors.Join(err, b.Close()))
	}
	return b, nil
}

// find returns the program's path. A desktop's other browsers are not looked for: what is said of one must hold for all.
func find() (string, error) {
	for _, name := range []string{"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNone
}

// Installed tells whether Start would find a browser.
func Installed() bool {
	_, err := find()
	return err == nil
}

func (b *Browser) start(ctx context.Context, program string, sandbox bool) error {
	account, err := b.makeProfile()
	if err != nil {
		return err
	}
	if b.gate, err = openGate(b.opt.Allowed, b.opt.Traffic); err != nil {
		return err
	}
	// What runs in the account, with its environment and in a session of its own.
	like, err := process.Command(ctx, []string{program}, account, []string{"HOME=" + b.profile, "XDG_RUNTIME_DIR=" + b.profile, "TMPDIR=" + b.profile})
	if err != nil {
		return err
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(program), chromedp.NoInheritEnv, chromedp.Env(like.Env...),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.Dir, cmd.SysProcAttr, cmd.WaitDelay = "/", like.SysProcAttr, goneWait
			cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // kedge itself may be killed
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		}),
	}
	for name, value := range b.flags(sandbox) {
		options = append(options, chromedp.Flag(name, value))
	}
	allocator, stop := chromedp.NewExecAllocator(ctx, options...)
	b.stop = stop
	// The browser outlives the call and ends with ctx, or with closeTabs.
	b.tabs, b.closeTabs = chromedp.NewContext(allocator, chromedp.WithErrorf(discard), chromedp.WithLogf(discard))
	late := time.AfterFunc(startTimeout, b.closeTabs)
	defer late.Stop()
	version, err := chromedp.CallBrowser(b.tabs, cdpbrowser.GetVersion, cdp.Empty{})
	if err != nil {
		return err
	}
	b.leader = chromedp.FromContext(b.tabs).Browser.Process().Pid
	b.owned.Go(func() { b.bound(b.tabs) })
	how, err := b.sandbox()
	if err != nil {
		return err
	}
	b.about = version.Product + ", " + how
	if account != "" {
		b.about += ", as " + account
	}
	return nil
}

// sandbox tells how the processes are shut in that pages run in.
func (b *Browser) sandbox() (string, error) {
	if err := chromedp.Do(b.tabs); err != nil { // opens a page, which has a process
		return "", err
	}
	for began := time.Now(); time.Since(began) < sandboxWait; time.Sleep(10 * time.Millisecond) {
		if how := sandboxOf(b.leader); how != "" { // a process shuts itself in after it has begun
			return how, nil
		}
	}
	return "without a sandbox", nil
}

// makeProfile makes an empty directory for the browser, and returns the account it runs as; "" is kedge's own.
func (b *Browser) makeProfile() (account string, err error) {
	if b.profile, err = os.MkdirTemp("", "kedge-browser-"); err != nil {
		return "", fmt.Errorf("make its profile: %w", err)
	}
	if os.Geteuid() != 0 {
		return "", nil
	}
	account = cmp.Or(b.opt.Account, "nobody")
	u, err := user.Lookup(account)
	if err != nil {
		return "", fmt.Errorf("find its account: %w", err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return "", fmt.Errorf("read account %s: %w", account, err)
	}
	if uid == 0 {
		return "", fmt.Errorf("account %s is root, which Chromium's sandbox does not work for: name another", account)
	}
	return account, os.Chown(b.profile, uid, gid)
}

// flags are the browser's arguments besides those that chromedp gives. Its debugger is a pipe, which nobody else can open.
func (b *Browser) flags(sandbox bool) map[string]any {
	flags := map[string]any{
		"headless": true, "no-sandbox": !sandbox, "user-data-dir": filepath.Join(b.profile, "profile"),
		// Its only way out, loopback addresses too; WebRTC has none.
		"proxy-server": "http://" + b.gate.address(), "proxy-bypass-list": "<-loopback>",
		"force-webrtc-ip-handling-policy": "disable_non_proxied_udp",
		"disable-features":                "Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,AutofillServerCommunication,CertificateTransparencyComponentUpdater",
		"js-flags":                        "--max-old-space-size=256", "disk-cache-size": "1048576", "password-store": "basic",
	}
	for _, name := range []string{
		// Certificates are for the plain fetch to judge, which sees those of every page; here nothing secret is sent.
		"ignore-certificate-errors",
		"disable-quic", "disable-gpu", "disable-dev-shm-usage", "disable-breakpad", "disable-crash-reporter", "mute-audio", "hide-scrollbars",
		"no-first-run", "no-default-browser-check", "no-pings", "disable-extensions", "disable-sync", "disable-default-apps",
		"disable-background-networking", "disable-component-update", "disable-domain-reliability", "disable-client-side-phishing-detection",
	} {
		flags[name] = true
	}
	return flags
}

// discard takes what chromedp says besides errors, such as events that are newer than it.
func discard(string, ...any) {}

// About tells which browser it is, whether it is sandboxed and whom it runs as.
func (b *Browser) About() string { return b.about }

// bound ends the browser when its processes take too much memory.
func (b *Browser) bound(ctx context.Context) {
	tick := time.NewTicker(memoryLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		used := int64(0)
		for _, pid := range session(b.leader) {
			used += private(pid)
		}
		if used > b.opt.Memory {
			b.mu.Lock()
			b.died = fmt.Errorf("the browser took %d MiB of memory and was ended: at most %d MiB are allowed", used>>20, b.opt.Memory>>20)
			b.mu.Unlock()
			b.closeTabs()
			return
		}
	}
}

// Close ends the browser and all that it started, and removes its profile.
func (b *Browser) Close() error {
	if b.closeTabs != nil {
		b.closeTabs()
		b.stop()
	}
	b.owned.Wait()
	var errs []error
	if b.leader != 0 {
		errs = append(errs, end(b.leader))
	}
	if b.gate != nil {
		b.gate.close()
	}
	if b.profile != "" {
		errs = append(errs, os.RemoveAll(b.profile))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end browser: %w", err)
	}
	return nil
}
