package document

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Languages are the official ones, by the letters that meeting documents carry: English, French, Russian,
// Spanish, Arabic, Chinese.
var Languages = []string{"E", "F", "R", "S", "A", "C"}

// Text is running text in one language.
type Text struct {
	Title    string
	Author   string
	Language string // one of Languages
	Created  time.Time
	Sections []Section
}

// Section is a heading and what stands below it.
type Section struct {
	Heading    string
	Paragraphs []string
}

// tag is the language's BCP 47 tag.
func tag(language string) string {
	switch language {
	case "F":
		return "fr-FR"
	case "R":
		return "ru-RU"
	case "S":
		return "es-ES"
	case "A":
		return "ar-SA"
	case "C":
		return "zh-CN"
	}
	return "en-GB"
}

// Compose writes a text of the given number of sections. An unknown language is taken for English.
func Compose(r *rand.Rand, language string, sections int) Text {
	b := bankOf(language)
	t := Text{
		Title:    pick(r, b.subjects),
		Author:   pick(r, authors),
		Language: language,
		// Whole even seconds: a ZIP archive keeps no finer ones.
		Created: time.Date(2012+r.IntN(13), time.Month(1+r.IntN(12)), 1+r.IntN(28), 8+r.IntN(10), r.IntN(60), 2*r.IntN(30), 0, time.UTC),
	}
	for n := range sections {
		s := Section{Heading: fmt.Sprintf("%d. %s", n+1, pick(r, b.subjects))}
		for range 1 + r.IntN(4) {
			s.Paragraphs = append(s.Paragraphs, b.paragraph(r))
		}
		t.Sections = append(t.Sections, s)
	}
	return t
}

// bank holds a language's sentences. A %d stands for a number.
type bank struct {
	subjects, sentences []string
	space               string // between sentences
}

func (b bank) paragraph(r *rand.Rand) string {
	var p []string
	for range 3 + r.IntN(5) {
		s := pick(r, b.sentences)
		if strings.Contains(s, "%d") {
			s = fmt.Sprintf(s, 2+r.IntN(180))
		}
		p = append(p, s)
	}
	return strings.Join(p, b.space)
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

var authors = []string{
	"A. Okafor", "M. Lindqvist", "J. Tanaka", "R. Fernández", "S. Haddad", "L. Moreau", "D. Ivanova", "Chen Wei", "P. Kowalski", "T. Mbeki",
}

// bankOf returns the sentences of a language.
func bankOf(language string) bank {
	switch language {
	case "F":
		return french
	case "R":
		return russian
	case "S":
		return spanish
	case "A":
		return arabic
	case "C":
		return chinese
	}
	return english
}

var english = bank{space: " ",
	subjects: []string{
		"Adoption of the agenda", "Safety of navigation in congested waters", "Port reception facilities for garbage",
		"Report of the working group on energy efficiency", "Training of seafarers", "Ballast water management",
		"Budget and staffing for the biennium", "Search and rescue coordination", "Facilitation of maritime traffic", "Liability and compensation",
	},
	sentences: []string{
		"The Committee considered the proposal and noted the views of %d delegations.",
		"Member States were invited to report the measures taken before the next session.",
		"The Secretariat was requested to prepare a consolidated text of the draft amendments.",
		"A correspondence group was established to review %d outstanding items.",
		"Several delegations stressed that small ports need technical assistance to comply.",
		"The observer of the shipping industry supported the proposal in principle.",
		"The depth of water alongside the berth was surveyed and found to be adequate.",
		"Masters should verify the voyage plan before leaving the pilot station.",
		"The working group met for %d hours and agreed on the wording in annex 1.",
		"It was recalled that the convention had been amended twice since its entry into force.",
		"No objection was received within the period of tacit acceptance.",
		"The fund has %d contributors and a balance sufficient for the current programme.",
	},
}

var french = bank{space: " ",
	subjects: []string{
		"Adoption de l'ordre du jour", "Sécurité de la navigation", "Installations de réception portuaires", "Formation des gens de mer",
		"Gestion des eaux de ballast", "Budget et effectifs", "Recherche et sauvetage", "Simplification des formalités",
	},
	sentences: []string{
		"Le Comité a examiné la proposition et pris note des avis de %d délégations.",
		"Les États Membres ont été invités à communiquer les mesures prises avant la prochaine session.",
		"Le Secrétariat a été prié d'établir un texte récapitulatif des projets d'amendements.",
		"Un groupe de travail par correspondance a été créé pour examiner %d points en suspens.",
		"Plusieurs délégations ont souligné que les petits ports avaient besoin d'une assistance technique.",
		"La profondeur d'eau le long du quai a été mesurée et jugée suffisante.",
		"Aucune objection n'a été reçue pendant la période d'acceptation tacite.",
		"Il a été rappelé que la convention avait été modifiée à deux reprises.",
	},
}

var spanish = bank{space: " ",
	subjects: []string{
		"Adopción del orden del día", "Seguridad de la navegación", "Instalaciones portuarias de recepción", "Formación de la gente de mar",
		"Gestión del agua de lastre", "Presupuesto y personal", "Búsqueda y salvamento", "Facilitación del tráfico marítimo",
	},
	sentences: []string{
		"El Comité examinó la propuesta y tomó nota de las opiniones de %d delegaciones.",
		"Se invitó a los Estados Miembros a notificar las medidas adoptadas antes del próximo periodo de sesiones.",
		"Se pidió a la Secretaría que preparase un texto refundido de los proyectos de enmienda.",
		"Se constituyó un grupo de trabajo por correspondencia para revisar %d cuestiones pendientes.",
		"Varias delegaciones subrayaron que los puertos pequeños necesitan asistencia técnica.",
		"Se midió la profundidad del agua junto al muelle y se consideró adecuada.",
		"No se recibió ninguna objeción durante el plazo de aceptación tácita.",
		"Se recordó que el convenio había sido enmendado en dos ocasiones.",
	},
}

var russian = bank{space: " ",
	subjects: []string{
		"Утверждение повестки дня", "Безопасность мореплавания", "Портовые приёмные сооружения", "Подготовка моряков",
		"Управление балластными водами", "Бюджет и штатное расписание", "Поиск и спасание", "Упрощение формальностей",
	},
	sentences: []string{
		"Комитет рассмотрел предложение и принял к сведению мнения %d делегаций.",
		"Государствам-членам было предложено сообщить о принятых мерах до следующей сессии.",
		"Секретариату было поручено подготовить сводный текст проектов поправок.",
		"Была учреждена корреспондентская группа для рассмотрения %d нерешённых вопросов.",
		"Несколько делегаций подчеркнули, что малым портам нужна техническая помощь.",
		"Глубина у причала была измерена и признана достаточной.",
		"В течение срока молчаливого принятия возражений не поступило.",
		"Было отмечено, что в конвенцию дважды вносились поправки.",
	},
}

var arabic = bank{space: " ",
	subjects: []string{
		"إقرار جدول الأعمال", "سلامة الملاحة", "مرافق الاستقبال في الموانئ", "تدريب البحارة", "إدارة مياه الصابورة", "الميزانية والموظفون", "البحث والإنقاذ",
	},
	sentences: []string{
		"نظرت اللجنة في الاقتراح وأحاطت علما بآراء %d وفدا.",
		"دعيت الدول الأعضاء إلى الإبلاغ عن التدابير المتخذة قبل الدورة القادمة.",
		"طلب إلى الأمانة إعداد نص موحد لمشاريع التعديلات.",
		"أنشئ فريق مراسلة لاستعراض %d بندا معلقا.",
		"شددت عدة وفود على أن الموانئ الصغيرة تحتاج إلى المساعدة التقنية.",
		"قيس عمق المياه بجانب الرصيف وتبين أنه كاف.",
		"لم يرد أي اعتراض خلال فترة القبول الضمني.",
	},
}

var chinese = bank{space: "",
	subjects: []string{
		"通过议程", "航行安全", "港口接收设施", "海员培训", "压载水管理", "预算和人员", "搜寻与救助", "便利海上运输",
	},
	sentences: []string{
		"委员会审议了该提案,并注意到%d个代表团的意见。",
		"请各成员国在下届会议之前报告所采取的措施。",
		"要求秘书处编写修正案草案的综合文本。",
		"成立了通信工作组,以审查%d个未决事项。",
		"若干代表团强调小港口需要技术援助。",
		"对泊位旁的水深进行了测量,认为足够。",
		"在默认接受期内没有收到任何反对意见。",
		"会议忆及该公约已经修正过两次。",
	},
}
