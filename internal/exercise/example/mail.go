package example

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/exercise/document"
)

const (
	mailDomain = "maritime.example"
	perMailbox = 120 // messages that are there from the beginning
)

// monitor is the mailbox that the probe delivers to and reads.
const monitor = "monitor"

var mailboxes = []string{"secretariat", "registry", "helpdesk", monitor}

// eximConfig is for an Exim that runs as one unprivileged user: it takes mail for the domain and hands it to
// Dovecot. The user is named as Exim's own, because only that one may start the daemon.
const eximConfig = `exim_user = %[1]s
exim_group = %[2]s
primary_hostname = mail.%[3]s
qualify_domain = %[3]s
domainlist local_domains = %[3]s
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[4]d
spool_directory = %[5]s/run/spool
log_file_path = %[5]s/log/exim-%%slog
pid_file_path = %[5]s/run/exim.master.pid
deliver_drop_privilege = true
tls_advertise_hosts =
host_lookup =
keep_environment =
message_size_limit = 25M
notifier_socket =
acl_smtp_rcpt = recipients
acl_smtp_data = accept

begin acl
recipients:
  accept domains = +local_domains
  deny message = relaying is not permitted

begin routers
mailboxes:
  driver = manualroute
  domains = +local_domains
  route_list = * 127.0.0.1
  self = send
  transport = dovecot

begin transports
dovecot:
  driver = smtp
  protocol = lmtp
  port = %[6]d
  allow_localhost

begin retry
* * F,1h,5s
`

// dovecotStart starts Dovecot in the directory of its sockets. The kernel allows a socket's path 107 bytes, fewer than
// an estate's directory may have; all of Dovecot's processes stay where they are started, so that /proc/self/cwd is
// a short name of it.
const dovecotStart = `mkdir -p run/d && cd run/d && exec "$0" -F -c "$1"`

// dovecotConfig is for a Dovecot that runs as one unprivileged user: without chroot and without other accounts.
const dovecotConfig = `protocols = imap lmtp
base_dir = /proc/self/cwd
state_dir = %[1]s/run/state
log_path = /dev/stderr
default_internal_user = %[2]s
default_internal_group = %[3]s
default_login_user = %[2]s
mail_uid = %[2]s
mail_gid = %[3]s
first_valid_uid = 1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
stats_writer_socket_path =
passdb {
  driver = passwd-file
  args = scheme=PLAIN %[1]s/conf/users
}
userdb {
  driver = static
  args = uid=%[2]s gid=%[3]s home=%[1]s/mailboxes/%%n
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
service imap-login {
  chroot =
  inet_listener imap {
    address = 127.0.0.1
    port = %[4]d
  }
  inet_listener imaps {
    port = 0
  }
}
service imap {
  executable = imap -a /proc/self/cwd/auth-master
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = %[5]d
  }
  unix_listener lmtp {
    mode = 0
  }
}
`

// mail builds the mail service: Exim takes messages and hands them to Dovecot, which keeps them in maildirs.
func (b *builder) mail() (estate.Service, error) {
	const name = "mail"
	s := b.service(name, "Mail")
	home := b.home(name)
	if err := directories(b.home(name, "conf"), b.home(name, "log"), b.home(name, "run")); err != nil {
		return s, err
	}
	imap, imapAddress, err := b.ports.take()
	if err != nil {
		return s, err
	}
	lmtp, lmtpAddress, err := b.ports.take()
	if err != nil {
		return s, err
	}
	smtp, smtpAddress, err := b.ports.take()
	if err != nil {
		return s, err
	}
	var users strings.Builder
	for n, mailbox := range mailboxes {
		password, err := newPassword(b.home(name, "conf", mailbox+".password"))
		if err != nil {
			return s, err
		}
		fmt.Fprintf(&users, "%s@%s:%s\n", mailbox, mailDomain, password)
		if err := b.fillMailbox(b.home(name, "mailboxes", mailbox, "Maildir"), mailbox, n); err != nil {
			return s, err
		}
	}
	exim, dovecot := b.home(name, "conf", "exim.conf"), b.home(name, "conf", "dovecot.conf")
	for file, content := range map[string]string{
		b.home(name, "conf", "users"): users.String(),
		exim:                          fmt.Sprintf(eximConfig, b.account.uid, b.account.gid, mailDomain, smtp, home, lmtp),
		dovecot:                       fmt.Sprintf(dovecotConfig, home, b.account.name, b.account.group, imap, lmtp),
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return s, err
		}
	}
	imapServer := b.process(name, "dovecot", []string{"/bin/sh", "-c", dovecotStart, b.programs.dovecot, dovecot}, []string{imapAddress, lmtpAddress})
	imapServer.Relocate = []string{dovecot}
	smtpServer := b.process(name, "exim", []string{b.programs.exim, "-C", exim, "-bdf", "-q5s"}, []string{smtpAddress})
	smtpServer.Relocate = []string{exim}
	s.Processes = []estate.Process{imapServer, smtpServer}
	s.Probes = []estate.Probe{
		{
			Name: "deliver-and-read", Kind: "mail", SMTP: smtpAddress, IMAP: imapAddress, User: monitor + "@" + mailDomain,
			PasswordFile: b.home(name, "conf", monitor+".password"),
		},
		{Name: "imap", Kind: "tcp", Address: imapAddress, Expect: "OK"},
		{Name: "smtp", Kind: "tcp", Address: smtpAddress, Expect: "220 mail." + mailDomain},
	}
	return s, nil
}

// fillMailbox writes messages that were read already; every sixth has a document attached.
func (b *builder) fillMailbox(dir, mailbox string, n int) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	for i := range perMailbox {
		r := rand.New(rand.NewPCG(b.opt.Seed, uint64(n*10_000+i)<<8|8))
		text := document.Compose(r, document.Languages[r.IntN(4)], 1+r.IntN(2))
		when := time.Date(2024, 1, 1, 0, r.IntN(600_000), r.IntN(60), 0, time.UTC)
		message, err := message(r, text, mailbox, when, i%6 == 0)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%d.M%dP%d.mail,S=%d:2,S", when.Unix(), r.IntN(1_000_000), 1000+i, len(message))
		if err := os.WriteFile(filepath.Join(dir, "cur", name), []byte(message), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func message(r *rand.Rand, text document.Text, mailbox string, when time.Time, attach bool) (string, error) {
	var m strings.Builder
	fmt.Fprintf(&m, "From: %s@%s\nTo: %s@%s\nSubject: =?UTF-8?B?%s?=\nDate: %s\nMessage-ID: <%d.%d@mail.%s>\nMIME-Version: 1.0\n",
		mailboxes[r.IntN(3)], mailDomain, mailbox, mailDomain, base64.StdEncoding.EncodeToString([]byte(text.Title)),
		when.Format(time.RFC1123Z), when.Unix(), r.Uint32(), mailDomain)
	var body strings.Builder
	for _, s := range text.Sections {
		body.WriteString(s.Heading + "\n\n" + strings.Join(s.Paragraphs, "\n\n") + "\n\n")
	}
	const plain = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
	if !attach {
		return m.String() + plain + body.String(), nil
	}
	file, err := document.Generate("docx", text.Language, r.Uint64())
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&m, "Content-Type: multipart/mixed; boundary=part\n\n--part\n%s%s--part\n"+
		"Content-Type: application/vnd.openxmlformats-officedocument.wordprocessingml.document; name=report.docx\n"+
		"Content-Disposition: attachment; filename=report.docx\nContent-Transfer-Encoding: base64\n\n", plain, body.String())
	for encoded := base64.StdEncoding.EncodeToString(file); encoded != ""; {
		n := min(76, len(encoded))
		m.WriteString(encoded[:n] + "\n")
		encoded = encoded[n:]
	}
	return m.String() + "--part--\n", nil
}
