package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/kedge-project/kedge/internal/estate"
)

// mailPoll is how often the mailbox is searched for the message.
const mailPoll = 50 * time.Millisecond

// askMail delivers a message with a random subject by SMTP, as any other server would, reads it back by IMAP
// as its recipient, and deletes it.
func askMail(ctx context.Context, p estate.Probe) error {
	if p.User == "" {
		return errors.New("user is missing: the recipient's address")
	}
	password, err := readPassword(p.PasswordFile)
	if err != nil {
		return err
	}
	token := "kedge-probe-" + rand.Text()
	if err := deliver(ctx, p, token); err != nil {
		return fmt.Errorf("deliver by SMTP: %w", err)
	}
	if err := readBack(ctx, p, password, token); err != nil {
		return fmt.Errorf("read back by IMAP: %w", err)
	}
	return nil
}

func deliver(ctx context.Context, p estate.Probe, token string) error {
	conn, err := dial(ctx, p.SMTP)
	if err != nil {
		return err
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(p.SMTP)
	if err != nil {
		return err
	}
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if err := client.Mail(p.User); err != nil {
		return err
	}
	if err := client.Rcpt(p.User); err != nil {
		return err
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	const text = "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@kedge.invalid>\r\n" +
		"Auto-Submitted: auto-generated\r\n\r\nkedge asks whether mail works, and deletes this message.\r\n%s\r\n"
	if _, err := fmt.Fprintf(body, text, p.User, p.User, token, time.Now().Format(time.RFC1123Z), token, token); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	return client.Quit()
}

func readBack(ctx context.Context, p estate.Probe, password, token string) error {
	conn, err := dial(ctx, p.IMAP)
	if err != nil {
		return err
	}
	client := imapclient.New(conn, nil)
	defer client.Close()
	if err := client.Login(p.User, password).Wait(); err != nil {
		return fmt.Errorf("log in as %s: %w", p.User, err)
	}
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		return fmt.Errorf("open INBOX: %w", err)
	}
	uid, err := find(ctx, client, token)
	if err != nil {
		return err
	}
	text := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierText, Peek: true}
	messages, err := client.Fetch(imap.UIDSetNum(uid), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{text}}).Collect()
	if err != nil {
		return fmt.Errorf("fetch the message: %w", err)
	}
	if len(messages) != 1 {
		return fmt.Errorf("fetch the message: the server gave %d", len(messages))
	}
	if err := compare(estate.Probe{Expect: token}, messages[0].FindBodySection(text)); err != nil {
		return err
	}
	deleted := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}
	if err := client.Store(imap.UIDSetNum(uid), deleted, nil).Close(); err != nil {
		return fmt.Errorf("delete the message: %w", err)
	}
	// UID EXPUNGE (RFC 4315) removes this message and none that its owner has marked.
	if err := client.UIDExpunge(imap.UIDSetNum(uid)).Close(); err != nil {
		return fmt.Errorf("expunge the message: %w", err)
	}
	return client.Logout().Wait()
}

// find waits until the message is in the mailbox.
func find(ctx context.Context, client *imapclient.Client, token string) (imap.UID, error) {
	bySubject := &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: token}}}
	for {
		found, err := client.UIDSearch(bySubject, nil).Wait()
		if ctx.Err() != nil {
			return 0, errors.New("the delivered message did not arrive")
		}
		if err != nil {
			return 0, fmt.Errorf("search: %w", err)
		}
		if uids := found.AllUIDs(); len(uids) > 0 {
			return uids[0], nil
		}
		// The server tells of new mail when it is spoken to; some do so at NOOP only.
		if err := client.Noop().Wait(); err != nil && ctx.Err() == nil {
			return 0, fmt.Errorf("look for new mail: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(mailPoll):
		}
	}
}
