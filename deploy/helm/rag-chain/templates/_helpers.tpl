{{- define "rag-chain.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "rag-chain.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "rag-chain.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "rag-chain.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "rag-chain.selector" -}}
app.kubernetes.io/name: {{ include "rag-chain.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rag-chain.labels" -}}
{{ include "rag-chain.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rag-chain.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "rag-chain.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "rag-chain.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* Whether the store is Milvus Lite: "true", or nothing. */ -}}
{{- define "rag-chain.lite" -}}
{{- if not (contains "://" .Values.milvus.uri) }}true{{ end }}
{{- end }}

{{- /* What can't work is refused here, before anything is installed. */ -}}
{{- define "rag-chain.check" -}}
{{- if include "rag-chain.lite" . }}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}
{{- fail (printf "milvus.uri is a path (%s), and Milvus Lite serves one pod only: set replicaCount to 1 and autoscaling.enabled to false, or milvus.uri to the address of a Milvus server" .Values.milvus.uri) }}
{{- end }}
{{- if not (hasPrefix "/data/" .Values.milvus.uri) }}
{{- fail (printf "milvus.uri is %s, but only /data is writable: use /data/rag_chain.db" .Values.milvus.uri) }}
{{- end }}
{{- end }}
{{- if and .Values.milvus.tls.existingSecret (not (hasPrefix "https://" .Values.milvus.uri)) }}
{{- fail (printf "milvus.tls.existingSecret is set, but milvus.uri is %s, which has no TLS: make it https://" .Values.milvus.uri) }}
{{- end }}
{{- if and .Values.milvus.tls.mutual (not .Values.milvus.tls.existingSecret) }}
{{- fail "milvus.tls.mutual is true, but there is no certificate to show: name a Secret with ca.crt, tls.crt and tls.key in milvus.tls.existingSecret" }}
{{- end }}
{{- if and (not .Values.keys.existingSecret) (not .Values.allowAnonymous) }}
{{- fail "there are no API keys: name a Secret with the keys file in keys.existingSecret, or set allowAnonymous to true" }}
{{- end }}
{{- if and .Values.keys.existingSecret .Values.allowAnonymous }}
{{- fail "keys.existingSecret and allowAnonymous exclude each other: remove one of them" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled is true, but ingress.hosts is empty: name at least one host" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.allowedHosts }}
{{- fail "Prometheus asks a pod by its address, which allowedHosts refuses: leave one of serviceMonitor.enabled and allowedHosts out" }}
{{- end }}
{{- if and .Values.persistence.enabled (not (include "rag-chain.lite" .)) (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) (ne .Values.persistence.accessMode "ReadWriteMany") }}
{{- fail "several pods can't share a ReadWriteOnce volume: set persistence.enabled to false (a Milvus server needs no volume here), or persistence.accessMode to ReadWriteMany" }}
{{- end }}
{{- end }}
